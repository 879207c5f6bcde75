"""What a carrier's webhook is before and after a carrier's ``webhook.py`` has looked at it.

The generic route does four steps for every carrier, and fails closed at each: find the account,
verify the raw bytes, parse, act (anymail's ``webhooks/base.py`` is the model). Carriers supply pure
functions over these records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from trunkline.telephony.call import CallEvent, Direction

__all__ = [
    "AmdReported",
    "AmdVerdict",
    "CallChanged",
    "Document",
    "IncomingCall",
    "StreamChanged",
    "UnknownReport",
    "UpgradeRequest",
    "WebhookEvent",
    "WebhookRequest",
    "header",
]


def header(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    """The first header of that name, case-insensitive, or None."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One HTTP request from a carrier, as it came, with the URL as the carrier knows it.

    ``url`` is built from ``PUBLIC_BASE_URL`` and the raw path and query, byte for byte: behind a
    proxy nothing else is what was signed (docs/carriers/twilio.md).
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    received_at_s: float = 0.0
    """When the request came, seconds since 1970: pure code has no clock, some signatures expire.

    Zero is long ago, so a caller that forgets it has every such signature refused.
    """

    client_host: str = ""
    """Address that the request comes from, past trusted proxies; for accounts that list the
    carrier's addresses. Empty is on no list."""

    def header(self, name: str) -> str | None:
        """The first header of that name, case-insensitive, or None."""
        return header(self.headers, name)

    @property
    def query(self) -> list[tuple[str, str]]:
        """Decoded query parameters in order, duplicates and blanks kept."""
        return parse_qsl(urlsplit(self.url).query, keep_blank_values=True)

    @property
    def content_type(self) -> str:
        """Lower case, without parameters; empty when absent."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeRequest:
    """The head of a WebSocket upgrade.

    ``url`` is the ``wss://`` URL as our markup named it.
    """

    url: str
    headers: Sequence[tuple[str, str]]
    received_at_s: float = 0.0
    """When the request came, as in ``WebhookRequest``."""

    client_host: str = ""
    """Address that the request comes from, as in ``WebhookRequest``."""

    has_token: bool = False
    """The path carries a stream token of ours that has been checked.

    It is proof enough where a carrier signs nothing.
    """

    def header(self, name: str) -> str | None:
        """The first header of that name, case-insensitive, or None."""
        return header(self.headers, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingCall:
    """A carrier asks what to do with a call: a new inbound, or an answered outbound one."""

    carrier_call_id: str
    account_id: str
    direction: Direction
    from_number: str
    """E.164 with plus where it is a number; ``sip:``, ``client:`` or ``anonymous`` as the carrier
    says otherwise."""

    to_number: str
    answered_by: str | None = None
    """AMD's verdict in the carrier's word, where detection ran before the answer."""

    delivery_id: str | None = None
    """Same on retries of one webhook, where the carrier sends such a key."""

    call_id: str | None = None
    """Our own id of the call, where the dial gave it to the carrier and the carrier gives it back.

    Not proved by itself: the call must be one that we have placed with this carrier.
    """

    dial_id: str | None = None
    """The carrier's id of the dial that made the call, where it is not always the call's own."""

    answer_by_rest: bool = False
    """The carrier does not read what this webhook is answered with.

    The call waits for a command (``telephony.carrier.CallControl``).
    """

    raw: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChanged:
    """A status callback.

    ``sequence`` orders those of one call; None where there is no order.
    """

    carrier_call_id: str
    account_id: str
    event: CallEvent
    carrier_word: str
    """The carrier's own status word, kept because unknown ones are counted and shown."""

    sequence: int | None = None
    duration_s: int | None = None
    cause: str = ""
    """SIP code or hangup cause, in the carrier's words."""

    from_number: str | None = None
    to_number: str | None = None
    answered_by: str | None = None
    delivery_id: str | None = None
    dial_id: str | None = None
    """The carrier's id of the dial that made the call, where it is not always the call's own."""

    raw: Mapping[str, str] = field(default_factory=dict[str, str])


class AmdVerdict(StrEnum):
    """Answering-machine detection, in neutral words."""

    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdReported:
    """The result of asynchronous answering-machine detection."""

    carrier_call_id: str
    account_id: str
    verdict: AmdVerdict
    carrier_word: str
    duration_ms: int | None = None
    dial_id: str | None = None
    """The carrier's id of the dial that made the call, where it is not always the call's own."""

    raw: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamChanged:
    """A callback about the media stream itself, such as Twilio's ``stream-error``."""

    carrier_call_id: str
    account_id: str
    stream_id: str
    word: str
    error: str = ""
    raw: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownReport:
    """A signed callback of a kind we do not know: kept raw and counted."""

    carrier_call_id: str
    account_id: str
    word: str
    raw: Mapping[str, str] = field(default_factory=dict[str, str])


WebhookEvent = CallChanged | AmdReported | StreamChanged | UnknownReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What we answer a carrier with: markup or JSON."""

    content_type: str
    body: bytes
    status: int = 200
