"""Telnyx's webhooks: who signed them, and what they say.

https://developers.telnyx.com/development/api-fundamentals/webhooks/receiving-webhooks
https://developers.telnyx.com/docs/voice/programmable-voice/texml-fundamentals

Two kinds come. TeXML sends forms and is answered with markup; Call Control sends JSON, does not
read the answer, and waits for commands by REST.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.errors import InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import CarrierAccount
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
    "AMD_VERDICTS",
    "CALL_EVENTS",
    "HANGUP_EVENTS",
    "TOLERANCE_S",
    "account_id",
    "is_report",
    "parse_event",
    "parse_incoming",
    "verify",
]

TOLERANCE_S = 300
"""Most seconds between a signature's timestamp and now, either way."""

CALL_EVENTS: Mapping[str, CallEvent] = {
    "queued": CallEvent.INITIATED,
    "initiated": CallEvent.INITIATED,
    "ringing": CallEvent.RINGING,
    "in-progress": CallEvent.ANSWERED,
    "completed": CallEvent.COMPLETED,
    "busy": CallEvent.BUSY,
    "no-answer": CallEvent.NO_ANSWER,
    "canceled": CallEvent.CANCELED,
    "failed": CallEvent.FAILED,
}
"""``CallStatus`` of TeXML, in webhooks and REST alike."""

HANGUP_EVENTS: Mapping[str, CallEvent] = {
    "normal_clearing": CallEvent.COMPLETED,
    "time_limit": CallEvent.COMPLETED,
    "originator_cancel": CallEvent.CANCELED,
    "user_busy": CallEvent.BUSY,
    "timeout": CallEvent.NO_ANSWER,
    "no_answer": CallEvent.NO_ANSWER,
    "call_rejected": CallEvent.FAILED,
    "not_found": CallEvent.FAILED,
    "unspecified": CallEvent.FAILED,
}
"""``hangup_cause`` of Call Control."""

AMD_VERDICTS: Mapping[str, AmdVerdict] = {
    "human": AmdVerdict.HUMAN,
    "human_residence": AmdVerdict.HUMAN,
    "human_business": AmdVerdict.HUMAN,
    "machine": AmdVerdict.MACHINE,
    "machine_start": AmdVerdict.MACHINE,
    "machine_end_beep": AmdVerdict.MACHINE,
    "machine_end_silence": AmdVerdict.MACHINE,
    "machine_end_other": AmdVerdict.MACHINE,
    # Only a machine's greeting has an end, a beep or a prompt.
    "beep_detected": AmdVerdict.MACHINE,
    "no_beep_detected": AmdVerdict.MACHINE,
    "ended": AmdVerdict.MACHINE,
    "prompt_ended": AmdVerdict.MACHINE,
    "fax": AmdVerdict.FAX,
    "fax_detected": AmdVerdict.FAX,
    "silence": AmdVerdict.UNKNOWN,
    "not_sure": AmdVerdict.UNKNOWN,
    "unknown": AmdVerdict.UNKNOWN,
}
"""``AnsweredBy`` of TeXML and ``result`` of Call Control."""

_SIGNATURE, _TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
_SIGNATURE_BYTES = 64
_SECONDS = re.compile(r"[0-9]{1,12}")

_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_CALL_ID = re.compile(r"[!-~]{1,255}")
_ACCOUNT_ID = re.compile(r"[0-9A-Za-z-]{1,64}")

_LIVE_EVENTS = {
    # Call Control has no word for ringing; the far end does from here on.
    "call.initiated": CallEvent.RINGING,
    "call.answered": CallEvent.ANSWERED,
    "call.bridged": CallEvent.ANSWERED,
}
_STREAM_EVENTS = ("streaming.started", "streaming.stopped", "streaming.failed")
_AMD_EVENTS = (
    "call.machine.detection.ended",
    "call.machine.greeting.ended",
    "call.machine.premium.detection.ended",
    "call.machine.premium.greeting.ended",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """One Call Control event. Telnyx promises none of its fields, so a missing one is empty."""

    kind: str
    event_id: str
    payload: Mapping[str, object]
    raw: Mapping[str, str]

    def text(self, name: str) -> str:
        value = self.payload.get(name)
        return value if isinstance(value, str) else ""

    @property
    def is_new_inbound(self) -> bool:
        return self.kind == "call.initiated" and self.text("direction") == "incoming"


def account_id(request: WebhookRequest) -> str | None:
    """``AccountSid`` of a request that nobody has verified yet; None when it names none.

    Call Control never does.
    """
    if _is_json(request):
        return None
    try:
        return dict(_parameters(request)).get("AccountSid") or None
    except InvalidRequest:
        return None


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check the Ed25519 signature over timestamp and body, and that the timestamp is of now.

    Neither method nor URL is signed, so a GET proves nothing of its query: it is refused unless the
    account accepts it.

    Raises:
        MissingProof: There is no signature, or no timestamp.
        SignatureError: It does not fit, or is too old.
    """
    signature, timestamp = request.header(_SIGNATURE), request.header(_TIMESTAMP)
    if not signature or not timestamp:
        raise MissingProof
    ours = TelnyxAccount.require(account)
    key = ours.public_key_bytes
    if key is None:
        raise SignatureError(
            "the public key is not set up for this account", signed_url=request.url
        )
    if request.method.upper() == "GET" and not ours.accept_get:
        raise SignatureError(
            "the query of a GET is not signed: set the application to POST", signed_url=request.url
        )
    if not _SECONDS.fullmatch(timestamp):
        raise SignatureError("the timestamp is not in seconds", signed_url=request.url)
    if abs(int(request.received_at_s) - int(timestamp)) > TOLERANCE_S:
        raise SignatureError("the timestamp is not of now", signed_url=request.url)
    try:
        signed = timestamp.encode() + b"|" + request.body
        Ed25519PublicKey.from_public_bytes(key).verify(_signature_bytes(signature), signed)
    except (InvalidSignature, ValueError):
        raise SignatureError("it does not fit", signed_url=request.url) from None


def is_report(request: WebhookRequest) -> bool:
    """Whether a request to the inbound URL only tells something, of a call that is known.

    A Call Control application sends every event to its one URL, those of outbound legs, too.
    """
    if not _is_json(request):
        return False
    try:
        return not _event(request).is_new_inbound
    except InvalidRequest:
        return False


def parse_incoming(request: WebhookRequest) -> IncomingCall:
    """Read what asks what to do with a call.

    That is TeXML's request for markup, by a new inbound call or an answered outbound one, or Call
    Control's notice of a new inbound call.

    Raises:
        InvalidRequest: Neither, or without its ids.
    """
    if _is_json(request):
        return _controlled_call(_event(request))
    fields = dict(_parameters(request))
    # TeXML names no direction, and asks for an answered outbound call at a URL of its own.
    outbound = fields.get("Direction", "").startswith("outbound")
    return IncomingCall(
        carrier_call_id=_require(_CALL_ID, fields, "CallSid"),
        account_id=_require(_ACCOUNT_ID, fields, "AccountSid"),
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=fields.get("From") or "anonymous",
        to_number=fields.get("To", ""),
        answered_by=fields.get("AnsweredBy") or None,
        raw=fields,
    )


def parse_event(request: WebhookRequest) -> WebhookEvent:
    """Read a callback: call status, answering-machine detection, stream status.

    Every other kind is an ``UnknownReport``.

    Raises:
        InvalidRequest: Neither a form nor JSON, or without its ids.
    """
    if _is_json(request):
        return _controlled_event(_event(request))
    fields = dict(_parameters(request))
    call_id = _require(_CALL_ID, fields, "CallSid")
    account = _require(_ACCOUNT_ID, fields, "AccountSid")
    if "StreamEvent" in fields:
        return StreamChanged(
            carrier_call_id=call_id,
            account_id=account,
            stream_id=fields.get("StreamSid", ""),
            word=fields["StreamEvent"],
            error=fields.get("StreamError", ""),
            raw=fields,
        )
    # Callbacks of recordings and of <Dial> may carry CallStatus beside their own word.
    for name in ("RecordingStatus", "DialCallStatus"):
        if name in fields:
            word = f"{name}={fields[name]}"
            return UnknownReport(carrier_call_id=call_id, account_id=account, word=word, raw=fields)
    # The detection's own callback may say how the call stands; that is not what it is about.
    is_progress = fields.get("CallbackSource") == "call-progress-events"
    if "AnsweredBy" in fields and not (is_progress and "CallStatus" in fields):
        return AmdReported(
            carrier_call_id=call_id,
            account_id=account,
            verdict=AMD_VERDICTS.get(fields["AnsweredBy"], AmdVerdict.UNKNOWN),
            carrier_word=fields["AnsweredBy"],
            duration_ms=_whole_number(fields.get("MachineDetectionDuration")),
            raw=fields,
        )
    if "CallStatus" in fields:
        return _call_changed(fields, call_id, account)
    return UnknownReport(carrier_call_id=call_id, account_id=account, word="", raw=fields)


def _call_changed(fields: Mapping[str, str], call_id: str, account: str) -> CallChanged:
    word = fields["CallStatus"]
    return CallChanged(
        carrier_call_id=call_id,
        account_id=account,
        event=CALL_EVENTS.get(word, CallEvent.UNKNOWN),
        carrier_word=word,
        sequence=_whole_number(fields.get("SequenceNumber")),
        duration_s=_whole_number(fields.get("CallDuration")),
        cause=fields.get("SipHangupCause") or fields.get("ErrorCode", ""),
        from_number=fields.get("From") or None,
        to_number=fields.get("To") or None,
        answered_by=fields.get("AnsweredBy") or None,
        raw=fields,
    )


def _controlled_call(event: _Event) -> IncomingCall:
    if event.kind != "call.initiated":
        raise InvalidRequest("the event asks for nothing", field="event_type")
    outbound = event.text("direction") == "outgoing"
    return IncomingCall(
        carrier_call_id=_require(_CALL_ID, event.payload, "call_control_id"),
        account_id="",
        direction=Direction.OUTBOUND if outbound else Direction.INBOUND,
        from_number=event.text("from") or "anonymous",
        to_number=event.text("to"),
        delivery_id=event.event_id or None,
        answer_by_rest=True,
        raw=event.raw,
    )


def _controlled_event(event: _Event) -> WebhookEvent:
    if event.kind in _LIVE_EVENTS or event.kind == "call.hangup":
        return _controlled_change(event)
    if event.kind in _STREAM_EVENTS:
        return StreamChanged(
            carrier_call_id=_require(_CALL_ID, event.payload, "call_control_id"),
            account_id="",
            stream_id=event.text("stream_id"),
            word=event.kind,
            error=event.text("failure_reason"),
            raw=event.raw,
        )
    if event.kind in _AMD_EVENTS:
        word = event.text("result")
        return AmdReported(
            carrier_call_id=_require(_CALL_ID, event.payload, "call_control_id"),
            account_id="",
            verdict=AMD_VERDICTS.get(word, AmdVerdict.UNKNOWN),
            carrier_word=word,
            raw=event.raw,
        )
    # Of recordings Telnyx does not always say which leg they are of.
    call_id = event.text("call_control_id")
    return UnknownReport(carrier_call_id=call_id, account_id="", word=event.kind, raw=event.raw)


def _controlled_change(event: _Event) -> CallChanged:
    if event.kind == "call.hangup":
        word = event.text("hangup_cause") or "unspecified"
        # Whatever the cause is called, the call is over.
        what = HANGUP_EVENTS.get(word, CallEvent.FAILED)
    else:
        word, what = event.kind, _LIVE_EVENTS[event.kind]
    return CallChanged(
        carrier_call_id=_require(_CALL_ID, event.payload, "call_control_id"),
        account_id="",
        event=what,
        carrier_word=word,
        duration_s=_seconds_between(event.text("start_time"), event.text("end_time")),
        cause=event.text("sip_hangup_cause"),
        from_number=event.text("from") or None,
        to_number=event.text("to") or None,
        delivery_id=event.event_id or None,
        raw=event.raw,
    )


def _is_json(request: WebhookRequest) -> bool:
    return request.method.upper() != "GET" and request.content_type == _JSON


def _event(request: WebhookRequest) -> _Event:
    """Read ``{"data": {"event_type", "id", "payload": {…}}}``.

    Raises:
        InvalidRequest: It is not that.
    """
    try:
        body: object = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is not JSON") from None
    data = _object(_object(body).get("data"))
    kind, event_id = data.get("event_type"), data.get("id")
    if not isinstance(kind, str):
        raise InvalidRequest("the event has no type", field="event_type")
    payload = _object(data.get("payload"))
    event_id = event_id if isinstance(event_id, str) else ""
    # A few deliveries write underscores, and no name has one of its own.
    kind = kind.replace("_", ".")
    raw = {"event_type": kind, "id": event_id, "occurred_at": _as_text(data.get("occurred_at"))}
    raw |= {name: _as_text(value) for name, value in payload.items()}
    return _Event(kind=kind, event_id=event_id, payload=payload, raw=raw)


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _parameters(request: WebhookRequest) -> Sequence[tuple[str, str]]:
    """The request's parameters in order: of the query for a GET, of the body for a form."""
    try:
        if request.method.upper() == "GET":
            return parse_qsl(urlsplit(request.url).query, keep_blank_values=True, errors="strict")
        if request.content_type == _FORM or not (request.content_type or request.body):
            return parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidRequest("the parameters are not UTF-8 text") from None
    raise InvalidRequest("the body must be a form or JSON")


def _signature_bytes(text: str) -> bytes:
    """The 64 bytes of a signature.

    Raises:
        ValueError: It is not that.
    """
    signature = b64decode(text, validate=True)
    if len(signature) != _SIGNATURE_BYTES:
        raise ValueError("not 64 bytes")
    return signature


def _require(form: re.Pattern[str], fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise InvalidRequest(f"{name} is missing or malformed", field=name)
    return value


def _seconds_between(start: str, end: str) -> int | None:
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (ValueError, TypeError):  # absent, no time, or only one of them with a zone
        return None
    return int(seconds) if seconds >= 0 else None


def _whole_number(value: str | None) -> int | None:
    return int(value) if value and len(value) < 19 and value.isascii() and value.isdigit() else None
