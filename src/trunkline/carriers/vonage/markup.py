"""NCCO, what Vonage is answered with: a JSON array of actions.

https://developer.vonage.com/en/voice/voice-api/ncco-reference
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from trunkline.carriers.vonage.account import VonageAccount
from trunkline.carriers.vonage.wire import RESERVED_HEADERS
from trunkline.telephony.carrier import CarrierAccount, Markup, StreamConnect
from trunkline.telephony.webhook import Document

__all__ = ["HEADERS_BYTES", "TALK_CHARS", "VonageMarkup", "account_markup"]

HEADERS_BYTES = 512
"""All headers of a media socket together, as JSON."""

TALK_CHARS = 1500
"""Longest text of one ``talk``."""

_CONTENT_TYPE = "application/json"

# Of a call that carries more than fits these travel first: the bot cannot do without them.
_FIRST = ("vonage_call_sid", "agent_name", "direction", "from_number", "to_number")

# Seconds of ringing until a forwarded call counts as not answered. Vonage's own default is 60.
_FORWARD_TIMEOUT_S = 30

Action: TypeAlias = Mapping[str, object]


class VonageMarkup:
    """The ``Markup`` of Vonage.

    Args:
        sample_rate_hz: Of the media socket, both ways.
        signed_upgrades: Ask for a signed upgrade of the media socket.
    """

    __slots__ = ("_sample_rate_hz", "_signed_upgrades")

    def __init__(self, *, sample_rate_hz: int = 16000, signed_upgrades: bool = True) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._signed_upgrades = signed_upgrades

    def fits(self, name: str, value: str) -> bool:
        """Whether ``connect`` may be given this parameter.

        What fits alone may still be left out there: the limit is of all together.
        """
        return name not in RESERVED_HEADERS and _header_bytes({name: value}) <= HEADERS_BYTES

    def connect(self, stream: StreamConnect) -> Document:
        """``connect`` to a websocket endpoint.

        Its events go to ``continue_url``, where the answer to the socket's end is what the call
        does next. Parameters beyond 512 bytes are left out; they travel by the record.
        """
        endpoint: dict[str, object] = {
            "type": "websocket",
            "uri": _clean(stream.stream_url),
            "content-type": f"audio/l16;rate={self._sample_rate_hz}",
            "headers": _headers(stream.parameters),
        }
        if self._signed_upgrades:
            endpoint["authorization"] = {"type": "vonage"}
        action: dict[str, object] = {"action": "connect", "endpoint": [endpoint]}
        if stream.continue_url is not None:
            action["eventType"] = "synchronous"
        event_url = stream.continue_url or stream.stream_status_url
        if event_url is not None:
            action |= {"eventUrl": [_clean(event_url)], "eventMethod": "POST"}
        return _document(action)

    def hangup(self) -> Document:
        """No action at all: a call ends when there is nothing more to do."""
        return _document()

    def reject(self) -> Document:
        """The same: Vonage cannot make an inbound caller hear busy."""
        return _document()

    def say(self, text: str) -> Document:
        """``talk``, and then nothing more, which ends the call."""
        text = _clean(text)
        parts = [text[start : start + TALK_CHARS] for start in range(0, len(text), TALK_CHARS)]
        return _document(*[{"action": "talk", "text": part} for part in parts])

    def forward(self, to_number: str, *, caller_id: str | None = None) -> Document:
        """``connect`` to a number or a ``sip:`` address.

        Without a caller id that is a number, Vonage shows any number of the application.
        """
        action: dict[str, object] = {"action": "connect", "timeout": _FORWARD_TIMEOUT_S}
        if caller_id is not None and caller_id.startswith("+"):
            action["from"] = _digits(caller_id)
        else:
            action["randomFromNumber"] = True
        if to_number.startswith(("sip:", "sips:")):
            action["endpoint"] = [{"type": "sip", "uri": _clean(to_number)}]
        else:
            action["endpoint"] = [{"type": "phone", "number": _digits(to_number)}]
        return _document(action)

    def accept_event(self) -> Document:
        """Nothing: a body would be taken for what the call does next."""
        return Document(content_type=_CONTENT_TYPE, body=b"", status=204)


def account_markup(account: CarrierAccount) -> Markup:
    """The markup as an account has it set up."""
    ours = VonageAccount.require(account)
    return VonageMarkup(sample_rate_hz=ours.sample_rate_hz, signed_upgrades=ours.signed_upgrades)


def _headers(parameters: Mapping[str, str]) -> Mapping[str, str]:
    """As many parameters as fit, those first that every bot needs."""
    order = [name for name in _FIRST if name in parameters]
    order += [name for name in parameters if name not in _FIRST]
    kept: dict[str, str] = {}
    for name in order:
        if name in RESERVED_HEADERS:
            continue
        grown = {**kept, _clean(name): _clean(parameters[name])}
        if _header_bytes(grown) <= HEADERS_BYTES:
            kept = grown
    return kept


def _header_bytes(headers: Mapping[str, str]) -> int:
    """Length in the longest of the usual ways to write JSON: which one is counted is not known."""
    return len(json.dumps(headers))


def _digits(number: str) -> str:
    """E.164 as Vonage writes it."""
    return _clean(number).removeprefix("+")


def _clean(text: str) -> str:
    """Without lone surrogates, which no JSON parser needs to take."""
    return text.encode("utf-8", "ignore").decode()


def _document(*actions: Action) -> Document:
    body = json.dumps(actions, ensure_ascii=False, separators=(",", ":"))
    return Document(content_type=_CONTENT_TYPE, body=body.encode())
