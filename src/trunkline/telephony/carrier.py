"""The contract of a carrier: a frozen record of plain functions and small Protocols, no base class.

A carrier is a folder under ``trunkline.carriers`` that ends with ``CARRIER = Carrier(...)``. An
absent part is ``None``; asking for it raises ``UnsupportedByCarrier`` in ``calls/`` before anything
is sent. ``Features`` says what absence of a part cannot. We express what a carrier's API can
express and let the carrier refuse the rest (anymail's ``ADDING_ESPS.md``); we do not rebuild its
limits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from trunkline.errors import UnsupportedByCarrier
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.media import StreamProtocol
from trunkline.telephony.webhook import (
    AmdVerdict,
    Document,
    IncomingCall,
    UpgradeRequest,
    WebhookEvent,
    WebhookRequest,
)

if TYPE_CHECKING:
    import httpx

__all__ = [
    "AmdMode",
    "CallControl",
    "Carrier",
    "CarrierAccount",
    "CarrierCall",
    "CarrierClient",
    "CarrierNumber",
    "DialOrder",
    "Features",
    "Markup",
    "PlacedCall",
    "StreamConnect",
    "Webhook",
]


class CarrierAccount(BaseModel):
    """Credentials at one carrier; subclasses declare the fields.

    A field's environment variable is ``ENV_PREFIX + field name`` in upper case. Secrets are
    ``SecretStr``, so that no ``repr`` shows them.
    """

    # Inputs hold secrets, and a validation error would print them.
    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True
    )

    ENV_PREFIX: ClassVar[str]

    phone_number: str | None = None
    """Default caller id of outbound calls, E.164."""

    @property
    @abstractmethod
    def account_id(self) -> str:
        """The carrier's id of this account as its webhooks name it; empty when unset."""

    @abstractmethod
    def missing(self) -> Sequence[str]:
        """Environment names of what webhooks cannot be checked or calls not be placed without."""

    @classmethod
    def environment(cls) -> Mapping[str, str]:
        """Field name → environment variable."""
        return {name: cls.ENV_PREFIX + name.upper() for name in cls.model_fields}


class AmdMode(StrEnum):
    """Answering-machine detection on an outbound call."""

    DETECT = "detect"
    """Tell human from machine as early as possible; the bot talks meanwhile."""

    MESSAGE_END = "message_end"
    """Also report when the machine's greeting has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConnect:
    """What markup needs to connect a call to our media socket."""

    stream_url: str
    """``wss://…`` with the token in the path; no query (docs/carriers/twilio.md)."""

    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    continue_url: str | None = None
    """Where the call goes when the stream has ended."""

    stream_status_url: str | None = None
    """Where the carrier reports about the stream itself, if it does."""

    as_json: bool = False
    """The request asks for JSON (it is a GET, or accepts ``application/json``).

    For carriers that are answered with JSON or with markup.
    """


class Markup(Protocol):
    """Answer documents.

    Every method is pure.
    """

    def fits(self, name: str, value: str) -> bool:
        """Whether a stream parameter can travel in the markup; ``connect`` is given only such."""
        ...

    def connect(self, stream: StreamConnect) -> Document:
        """Connect the call to our media socket, then to ``continue_url``."""
        ...

    def hangup(self) -> Document:
        """End the call."""
        ...

    def reject(self) -> Document:
        """Refuse an unanswered inbound call so that the caller hears busy."""
        ...

    def say(self, text: str) -> Document:
        """Speak ``text`` with the carrier's own voice, then hang up."""
        ...

    def forward(self, to_number: str, *, caller_id: str | None = None) -> Document:
        """Connect the call to another number."""
        ...

    def accept_event(self) -> Document:
        """What a status callback is answered with."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """How a carrier's HTTP requests are told apart, checked and understood."""

    account_id: Callable[[WebhookRequest], str | None]
    """The account that the (unverified) request names; selects the credentials to verify it
    with."""

    verify: Callable[[WebhookRequest, CarrierAccount], None]
    """Raises ``MissingProof`` or ``SignatureError``; returns nothing."""

    parse_incoming: Callable[[WebhookRequest], IncomingCall]
    """Raises ``InvalidRequest``."""

    parse_event: Callable[[WebhookRequest], WebhookEvent]
    """Raises ``InvalidRequest``."""

    nonce: Callable[[WebhookRequest], str | None] | None = None
    """The random number that the proof covers, for carriers whose requests carry one.

    The pure check cannot remember, so the front does: a number that has come before with another
    method, URL or body is a forgery; with the same it is a repeated delivery.
    """

    is_report: Callable[[WebhookRequest], bool] | None = None
    """Whether a request to an answer URL or to ``continue_url`` only reports about its call.

    Then ``parse_event`` reads it. None: every request asks what comes next. Raises
    ``InvalidRequest``.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class DialOrder:
    """One outbound call to place."""

    call_id: str
    to_number: str
    from_number: str
    stream: StreamConnect
    """Where the answered call's media goes, for APIs that take the address itself."""
    answer: Document
    """The markup for the answered call, sent inline where the carrier takes it and it fits."""

    answer_url: str
    """Where the same markup can be fetched."""

    status_url: str
    amd: AmdMode | None = None
    ring_timeout_s: int = 60
    max_duration_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCall:
    """The carrier accepted the dial."""

    carrier_call_id: str
    event: CallEvent
    raw: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierCall:
    """A call as the carrier's REST API describes it now."""

    carrier_call_id: str
    event: CallEvent
    """``ANSWERED`` while it is up; a final event when it is over."""

    carrier_word: str
    direction: Direction
    from_number: str
    to_number: str
    duration_s: int | None = None
    answered_by: AmdVerdict | None = None
    raw: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierNumber:
    """A phone number as configured at the carrier."""

    number: str
    number_id: str
    voice_url: str | None
    voice_method: str | None = None
    raw: Mapping[str, object] = field(default_factory=dict[str, object])


class CarrierClient(Protocol):
    """A carrier's REST API.

    Methods raise ``CarrierError`` subclasses only; each wait is bounded.     Nothing that dials is
    retried here or by callers (a timeout may have dialled).
    """

    async def place_call(self, order: DialOrder) -> PlacedCall:
        """Dial."""
        ...

    async def hang_up(self, carrier_call_id: str) -> None:
        """End the call; a call that is already over, or unknown, counts as success."""
        ...

    async def fetch_call(self, carrier_call_id: str) -> CarrierCall | None:
        """The call as the carrier sees it, or None when the carrier knows none of that id."""
        ...

    async def fetch_open_calls(self) -> Sequence[CarrierCall]:
        """Calls of this account that are not over, at most a few hundred."""
        ...

    async def redirect(self, carrier_call_id: str, url: str) -> None:
        """Make a live call fetch new markup from ``url``."""
        ...

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """How a number of ours is set up, or None when the account has no such number."""
        ...

    async def check_credentials(self) -> None:
        """Ask for something cheap; raises ``CarrierRejected`` when the credentials are refused."""
        ...


class CallControl(Protocol):
    """Commands in place of answer markup, for calls whose ``IncomingCall.answer_by_rest`` says so.

    Methods raise ``CarrierError`` subclasses only; each wait is bounded. The webhook itself is
    answered with ``Markup.accept_event``, at once: a carrier waits a second or two for it.
    """

    async def answer(self, carrier_call_id: str, stream: StreamConnect, *, events_url: str) -> None:
        """Answer an inbound call and connect it to our media socket.

        Later webhooks about the call go to ``events_url``. When the stream ends the call stays up,
        silent and billed, until ``CarrierClient.hang_up``.
        """
        ...

    async def start_stream(self, carrier_call_id: str, stream: StreamConnect) -> None:
        """Connect an answered call to our media socket again, after its stream was lost."""
        ...

    async def reject(self, carrier_call_id: str) -> None:
        """Refuse an unanswered inbound call so that the caller hears busy."""
        ...

    async def forward(
        self, carrier_call_id: str, to_number: str, *, caller_id: str | None = None
    ) -> None:
        """Connect the call to another number.

        It dials, so it is sent once. A media stream of the call goes on beside it.
        """
        ...

    async def send_dtmf(self, carrier_call_id: str, digits: str) -> None:
        """Press keys on an answered call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What absence of a part cannot say.

    One row of the capability table.
    """

    marks: bool
    clear: bool
    dtmf_in: bool
    dtmf_out: bool
    amd: bool
    cold_transfer: bool
    resumes_stream: bool
    """The call can go on after its media stream was lost."""

    resumes_stream_by_same_url: bool = False
    """The carrier redials the same media URL after a failed or lost socket: the token comes
    again."""

    lead_ms: int = 400
    """Audio sent ahead into the carrier's buffer at most.

    Small where the carrier drops what comes too early.
    """

    wants_silence: bool = False
    """The carrier ends or degrades calls that send it nothing.

    So silence is sent while the bot is quiet.
    """

    hangs_up_by_close: bool = False
    """There is no hang-up by REST: closing the media socket gives the call back to the carrier,
    which ends it or goes on with its own flow."""

    closes_stream_itself: bool = False
    """After ``send_close`` the stream is read on, for some seconds, until the carrier has ended it;
    closing the socket at once would count as a failure."""

    connects_by_event: bool = False
    """A status callback that says answered, for a call that has no stream yet, is answered with
    ``Markup.connect``."""

    announces_stop: bool = True
    """The stream says when it is over.

    Where it does not, an ordinary hang-up just closes the socket, and a callback that comes a
    moment later tells it from a lost stream.
    """

    parameters_in_query: bool = False
    """``Markup.connect`` puts the stream's parameters into the query of the media URL.

    They are read at the upgrade; the stream's start brings none of them back.
    """

    dtmf_as_tones: bool = False
    """The stream has no event for keys: they are heard in the caller's audio.

    An event that comes all the same counts, and is not counted twice.
    """

    proof_covers_url: bool = True
    """It covers the URL, too: a proved webhook cannot be sent to another agent's address."""

    answer_markup_inline_chars: int | None = None
    """Longest markup that the dial request itself can carry; None: only by URL."""

    longest_call_s: int | None = None
    pipecat_serializer: str | None = None
    """Class of Pipecat's serializer for this carrier's protocol, for the table."""

    received_encodings: Sequence[str] = ()
    sent_encodings: Sequence[str] = ()
    authenticity: str = ""
    """One line for the table: what proves that a request comes from the carrier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Everything Trunkline knows about one carrier."""

    name: str
    display_name: str
    account: type[CarrierAccount]
    features: Features
    new_stream: Callable[[], StreamProtocol] | None = None
    stream_options: Callable[[CarrierAccount], Mapping[str, str]] | None = None
    """What of an account's settings its streams need, such as a byte order; never a secret.

    The front puts it into the call's facts, and the gateway gives it to ``require_stream``.
    """

    new_stream_with: Callable[[Mapping[str, str]], StreamProtocol] | None = None
    """``new_stream`` as ``stream_options`` want it. Unknown options change nothing."""

    webhook: Webhook | None = None
    verify_upgrade: Callable[[UpgradeRequest, CarrierAccount], None] | None = None
    """Checks a signed WebSocket upgrade; None where the carrier does not sign upgrades."""

    upgrade_nonce: Callable[[UpgradeRequest], str | None] | None = None
    """The random number that a verified upgrade's proof covers, if any.

    The pure check cannot remember, so the front does, for a minute: a number that has come before
    is a copied request, whatever else it says.
    """

    markup: Markup | None = None
    account_markup: Callable[[CarrierAccount], Markup] | None = None
    """``markup`` as an account's settings want it, where they have a say."""

    new_client: Callable[[CarrierAccount, httpx.AsyncClient], CarrierClient] | None = None
    new_call_control: Callable[[CarrierAccount, httpx.AsyncClient], CallControl] | None = None
    """Set where calls may be answered by REST, see ``IncomingCall.answer_by_rest``."""

    default_max_concurrent_calls: int = 10

    def require_webhook(self) -> Webhook:
        """The part that reads webhooks; raises ``UnsupportedByCarrier`` without one."""
        if self.webhook is None:
            raise UnsupportedByCarrier(self.name, "webhooks")
        return self.webhook

    def require_markup(self, account: CarrierAccount | None = None) -> Markup:
        """The part that writes answers; raises ``UnsupportedByCarrier`` without one.

        Args:
            account: Whose settings count; without one, the defaults.
        """
        if self.markup is None:
            raise UnsupportedByCarrier(self.name, "answer markup")
        if account is not None and self.account_markup is not None:
            return self.account_markup(account)
        return self.markup

    def require_stream(self, options: Mapping[str, str] | None = None) -> StreamProtocol:
        """A new stream protocol core; raises ``UnsupportedByCarrier`` without one."""
        if options and self.new_stream_with is not None:
            return self.new_stream_with(options)
        if self.new_stream is None:
            raise UnsupportedByCarrier(self.name, "media streams")
        return self.new_stream()

    def require_client(self, account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
        """A new REST client; raises ``UnsupportedByCarrier`` without one."""
        if self.new_client is None:
            raise UnsupportedByCarrier(self.name, "a REST API")
        return self.new_client(account, http)

    def require_call_control(self, account: CarrierAccount, http: httpx.AsyncClient) -> CallControl:
        """Commands for live calls; raises ``UnsupportedByCarrier`` without them."""
        if self.new_call_control is None:
            raise UnsupportedByCarrier(self.name, "commands for live calls")
        return self.new_call_control(account, http)
