"""Webhooks as forms of ``CallUUID``, ``Event`` and ``CallStatus``, as two carriers send them.

What they say is alike, who signs them how is not: that is the carriers' own
(docs/carriers/plivo.md, docs/carriers/vobiz.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from trunkline.errors import InvalidRequest
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    IncomingCall,
    StreamChanged,
    UnknownReport,
    WebhookEvent,
    WebhookRequest,
)

__all__ = [
    "CALL_EVENTS",
    "account_id",
    "has_form_body",
    "is_report",
    "parameters",
    "parse_event",
    "parse_incoming",
    "to_e164",
]

CALL_EVENTS: Mapping[str, CallEvent] = {
    "queued": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    "in-progress": CallEvent.ANSWERED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "no-answer": CallEvent.NO_ANSWER,
    # The ring timeout, not the time limit: a call cut off by that is completed.
    "timeout": CallEvent.NO_ANSWER,
    "cancel": CallEvent.CANCELED,
    "failed": CallEvent.FAILED,
}
"""``CallStatus`` in webhooks, ``call_status`` in REST."""

_AMD_VERDICTS = {"true": AmdVerdict.MACHINE, "false": AmdVerdict.HUMAN}

_CALL_REPORTS = frozenset({"StartApp", "Ring", "Hangup", ""})

_STREAM_WORDS: Mapping[str, str] = {
    "StartStream": "StartStream",
    "StopStream": "StopStream",
    "DroppedStream": "DroppedStream",
    "DegradedStream": "DegradedStream",
    "PlayedStream": "PlayedStream",
    "ClearedAudio": "ClearedAudio",
    # Another page of the same documentation has these in place of the first three.
    "started": "StartStream",
    "stopped": "StopStream",
    "failed": "DroppedStream",
}

_FORM = "application/x-www-form-urlencoded"
_DIGITS = re.compile(r"[1-9][0-9]{6,14}")
_CALL_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")

ToE164 = Callable[[str], str]


def to_e164(number: str) -> str:
    """Put the plus before a number that is sent as digits; leave ``sip:…`` and the like alone."""
    return f"+{number}" if _DIGITS.fullmatch(number) else number


def account_id(request: WebhookRequest) -> str | None:
    """``ParentAuthID`` of a request that nobody has verified yet; None when it names none."""
    try:
        return dict(parameters(request)).get("ParentAuthID") or None
    except InvalidRequest:
        return None


def has_form_body(request: WebhookRequest) -> bool:
    """Whether the parameters stand in the body. A POST without body and type is an empty form."""
    if request.method.upper() == "GET":
        return False
    return request.content_type == _FORM or not (request.content_type or request.body)


def parameters(request: WebhookRequest) -> Sequence[tuple[str, str]]:
    """The request's parameters in order: of the query for a GET, of the body for a form.

    Raises:
        InvalidRequest: Neither, or not UTF-8.
    """
    try:
        if request.method.upper() == "GET":
            return parse_qsl(urlsplit(request.url).query, keep_blank_values=True, errors="strict")
        if has_form_body(request):
            return parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequest("the parameters are not UTF-8 text") from None
    raise InvalidRequest("the body must be a form")


def is_report(request: WebhookRequest) -> bool:
    """Whether a request to an answer URL only tells that the call is over.

    Applications without a hang-up URL of their own get ``Event=Hangup`` at the answer URL.
    """
    try:
        return dict(parameters(request)).get("Event") == "Hangup"
    except InvalidRequest:
        return False


def parse_incoming(request: WebhookRequest, number: ToE164 = to_e164) -> IncomingCall:
    """Read the request for markup: of a new call, an answered one, or one that was redirected.

    Args:
        request: Verified.
        number: Writes the carrier's numbers as E.164.

    Raises:
        InvalidRequest: Not a form, without ``CallUUID``, or a report that is to be answered with
            nothing.
    """
    fields = dict(parameters(request))
    call_id = _require_call_id(fields)
    if fields.get("Event") == "Hangup":
        raise InvalidRequest("the call is over and asks for no markup", field="Event")
    outbound = fields.get("Direction", "").startswith("outbound")
    return IncomingCall(
        carrier_call_id=call_id,
        account_id=fields.get("ParentAuthID", ""),
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=number(fields.get("From", "")) or "anonymous",
        to_number=number(fields.get("To", "")),
        delivery_id=_delivery_id(fields),
        dial_id=fields.get("RequestUUID") or None,
        raw=fields,
    )


def parse_event(request: WebhookRequest, number: ToE164 = to_e164) -> WebhookEvent:
    """Read a callback: call status, answering-machine detection, stream status.

    Every other kind is an ``UnknownReport``.

    Args:
        request: Verified.
        number: Writes the carrier's numbers as E.164.

    Raises:
        InvalidRequest: Not a form, or without ``CallUUID``.
    """
    fields = dict(parameters(request))
    call_id, account = _require_call_id(fields), fields.get("ParentAuthID", "")
    event = fields.get("Event", "")
    if event in _STREAM_WORDS:
        return StreamChanged(
            carrier_call_id=call_id,
            account_id=account,
            stream_id=fields.get("StreamID", ""),
            word=_STREAM_WORDS[event],
            error=fields.get("Error") or fields.get("StatusReason", ""),
            raw=fields,
        )
    if event == "MachineDetection":
        word = fields.get("Machine", "")
        return AmdReported(
            carrier_call_id=call_id,
            account_id=account,
            verdict=_AMD_VERDICTS.get(word.lower(), AmdVerdict.UNKNOWN),
            carrier_word=word,
            dial_id=fields.get("RequestUUID") or None,
            raw=fields,
        )
    # What <Dial> and <Record> report may carry CallStatus beside their own word.
    if event not in _CALL_REPORTS or "CallStatus" not in fields or "DialStatus" in fields:
        word = event or ("DialStatus" if "DialStatus" in fields else "")
        return UnknownReport(carrier_call_id=call_id, account_id=account, word=word, raw=fields)
    return _call_changed(fields, call_id, account, number)


def _call_changed(
    fields: Mapping[str, str], call_id: str, account: str, number: ToE164
) -> CallChanged:
    word = fields["CallStatus"]
    # Some flows send only one of the two names.
    cause = fields.get("HangupCauseName") or fields.get("HangupCause", "")
    code = fields.get("HangupCauseCode", "")
    return CallChanged(
        carrier_call_id=call_id,
        account_id=account,
        event=CALL_EVENTS.get(word, CallEvent.UNKNOWN),
        carrier_word=word,
        # Duration is talk, BillDuration is what is charged.
        duration_s=_whole_number(fields.get("Duration")),
        cause=" ".join(filter(None, (code, cause))),
        from_number=number(fields.get("From", "")) or None,
        to_number=number(fields.get("To", "")) or None,
        delivery_id=_delivery_id(fields),
        dial_id=fields.get("RequestUUID") or None,
        raw=fields,
    )


def _delivery_id(fields: Mapping[str, str]) -> str:
    """Neither carrier sends a key; both say to tell repetitions by call and event."""
    return ":".join(fields.get(name, "") for name in ("CallUUID", "Event", "CallStatus"))


def _require_call_id(fields: Mapping[str, str]) -> str:
    value = fields.get("CallUUID", "")
    if not _CALL_ID.fullmatch(value):
        raise InvalidRequest("CallUUID is missing or malformed", field="CallUUID")
    return value


def _whole_number(value: str | None) -> int | None:
    return int(value) if value and len(value) < 19 and value.isascii() and value.isdigit() else None
