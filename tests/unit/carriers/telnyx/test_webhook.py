from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.webhook import (
    AMD_VERDICTS,
    CALL_EVENTS,
    HANGUP_EVENTS,
    TOLERANCE_S,
    account_id,
    is_report,
    parse_event,
    parse_incoming,
    verify,
)
from trunkline.errors import AccessDenied, InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    StreamChanged,
    UnknownReport,
    WebhookRequest,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "telnyx"
VECTORS: dict[str, Any] = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))
KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["ed25519_seed_hex"]))
PUBLIC_KEY = VECTORS["public_key_base64"]
ACCOUNT = TelnyxAccount.model_validate({"public_key": PUBLIC_KEY})
URL = "https://voice.example.test/telephony/telnyx/events/c1"
FORM = "application/x-www-form-urlencoded"
ACCOUNT_SID = "9bb60a0d-7f6c-4b0d-9f0c-000000000001"
CALL_ID = "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg"
NOW_S = 1791281742


def signed(body: bytes, *, timestamp: str = str(NOW_S), **changes: Any) -> WebhookRequest:
    signature = base64.b64encode(KEY.sign(timestamp.encode() + b"|" + body)).decode()
    headers = [
        ("Telnyx-Signature-Ed25519", signature),
        ("Telnyx-Timestamp", timestamp),
        ("Content-Type", FORM),
    ]
    fields: dict[str, Any] = {
        "method": "POST",
        "url": URL,
        "headers": headers,
        "body": body,
        "received_at_s": NOW_S + 0.5,
    }
    return WebhookRequest(**{**fields, **changes})


def form(**fields: str) -> WebhookRequest:
    ids = {"AccountSid": ACCOUNT_SID, "CallSid": CALL_ID}
    return signed(urlencode({**ids, **fields}).encode())


def captured_form(name: str) -> WebhookRequest:
    return signed((CAPTURES / name).read_bytes())


def document(body: bytes | object) -> WebhookRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = signed(raw)
    kept = [pair for pair in request.headers if pair[0] != "Content-Type"]
    return replace(request, headers=[*kept, ("content-type", "application/json; charset=utf-8")])


def event(kind: str, **payload: object) -> WebhookRequest:
    data = {"event_type": kind, "id": "e1", "payload": {"call_control_id": CALL_ID, **payload}}
    return document({"data": data, "meta": {"attempt": 1}})


def captured_event(number: int) -> WebhookRequest:
    (path,) = CAPTURES.glob(f"webhook_{number:02}_*.json")
    return document(path.read_bytes())


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    account = TelnyxAccount.model_validate(
        {"public_key": vector["public_key"], "accept_get": vector["method"] == "GET"}
    )
    request = WebhookRequest(
        method=vector["method"],
        url=vector["url"],
        headers=list(vector["headers"].items()),
        body=vector["body"].encode(),
        received_at_s=float(vector["now"]),
    )
    if vector["expect"] == "valid":
        verify(request, account)
    else:
        with pytest.raises(AccessDenied):
            verify(request, account)


@pytest.mark.parametrize("change", ["none", "body", "signature", "timestamp", "key"])
def test_the_official_sdk_agrees(change: str) -> None:
    body, timestamp = b'{"data": "\xc3\xbc"}', str(int(time.time()))
    request = signed(body, timestamp=timestamp, received_at_s=time.time())
    headers, account = dict(request.headers), ACCOUNT
    if change == "body":
        request = replace(request, body=body + b" ")
    elif change == "signature":
        headers["Telnyx-Signature-Ed25519"] = base64.b64encode(bytes(64)).decode()
    elif change == "timestamp":
        headers["Telnyx-Timestamp"] = str(int(timestamp) - 1)
    elif change == "key":
        other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
        account = TelnyxAccount.model_validate({"public_key": base64.b64encode(other).decode()})
    request = replace(request, headers=list(headers.items()))
    if change == "none":
        verify_webhook_signature(request.body, headers, account.public_key)
        verify(request, account)
        return
    with pytest.raises(WebhookVerificationError):
        verify_webhook_signature(request.body, headers, account.public_key)
    with pytest.raises(SignatureError):
        verify(request, account)


@pytest.mark.parametrize("off_s", [-TOLERANCE_S - 1, -TOLERANCE_S, TOLERANCE_S, TOLERANCE_S + 1])
def test_a_signature_is_good_for_five_minutes(off_s: int) -> None:
    request = signed(b"a=1", received_at_s=float(NOW_S + off_s))
    if abs(off_s) <= TOLERANCE_S:
        verify(request, ACCOUNT)
    else:
        with pytest.raises(SignatureError, match="not of now"):
            verify(request, ACCOUNT)


def test_a_front_that_forgets_the_time_has_everything_refused() -> None:
    request = WebhookRequest(method="POST", url=URL, headers=signed(b"a=1").headers, body=b"a=1")
    with pytest.raises(SignatureError, match="not of now"):
        verify(request, ACCOUNT)


def test_a_get_proves_nothing_of_its_query() -> None:
    request = signed(b"", method="GET", url=f"{URL}?CallSid=x")
    with pytest.raises(SignatureError, match="POST"):
        verify(request, ACCOUNT)
    accepting = TelnyxAccount.model_validate({"public_key": PUBLIC_KEY, "accept_get": "true"})
    verify(request, accepting)


@pytest.mark.parametrize("name", ["Telnyx-Signature-Ed25519", "Telnyx-Timestamp"])
def test_proof_that_is_not_there(name: str) -> None:
    request = signed(b"a=1")
    request = replace(request, headers=[pair for pair in request.headers if pair[0] != name])
    with pytest.raises(MissingProof):
        verify(request, ACCOUNT)


def test_without_a_public_key_nothing_is_right() -> None:
    with pytest.raises(SignatureError, match="public key is not set up"):
        verify(signed(b"a=1"), TelnyxAccount())


@pytest.mark.parametrize("signature", ["?", "ü", "AAAA", base64.b64encode(bytes(65)).decode()])
def test_signatures_that_are_none(signature: str) -> None:
    request = signed(b"a=1")
    headers = [("telnyx-signature-ed25519", signature), ("telnyx-timestamp", str(NOW_S))]
    with pytest.raises(SignatureError, match="does not fit"):
        verify(replace(request, headers=headers), ACCOUNT)


@given(signature=st.text(), timestamp=st.text(), body=st.binary(max_size=50))
def test_any_proof_is_judged(signature: str, timestamp: str, body: bytes) -> None:
    headers = [("telnyx-signature-ed25519", signature), ("telnyx-timestamp", timestamp)]
    request = WebhookRequest(
        method="POST", url=URL, headers=headers, body=body, received_at_s=float(NOW_S)
    )
    with pytest.raises(AccessDenied):
        verify(request, ACCOUNT)


def test_account_id() -> None:
    assert account_id(form()) == ACCOUNT_SID
    assert account_id(signed(b"CallSid=x")) is None
    assert account_id(signed(b"AccountSid=%ff")) is None
    assert account_id(captured_event(1)) is None


def test_the_inbound_capture() -> None:
    request = captured_form("texml_inbound.form")
    verify(request, ACCOUNT)
    call = parse_incoming(request)
    assert (call.carrier_call_id, call.account_id) == (CALL_ID, ACCOUNT_SID)
    assert call.direction is Direction.INBOUND
    assert (call.from_number, call.to_number) == ("+14155550100", "+13125550123")
    assert (call.answer_by_rest, call.answered_by, call.delivery_id) == (False, None, None)
    assert call.raw == dict(parse_qsl(request.body.decode()))
    assert not is_report(request)


def test_other_incoming_calls() -> None:
    assert parse_incoming(form(Direction="outbound-api")).direction is Direction.OUTBOUND
    assert parse_incoming(form(From="")).from_number == "anonymous"
    assert parse_incoming(form(AnsweredBy="machine")).answered_by == "machine"
    query = urlencode({"AccountSid": ACCOUNT_SID, "CallSid": CALL_ID, "From": "sip:a@b.test"})
    by_get = signed(b"", method="GET", url=f"{URL}?{query}")
    assert parse_incoming(by_get).from_number == "sip:a@b.test"


def test_a_new_call_of_call_control() -> None:
    request = captured_event(1)
    verify(request, ACCOUNT)
    assert not is_report(request)
    call = parse_incoming(request)
    assert (call.carrier_call_id, call.account_id) == (CALL_ID, "")
    assert (call.direction, call.answer_by_rest) == (Direction.INBOUND, True)
    assert (call.from_number, call.to_number) == ("+14155550100", "+13125550123")
    assert call.delivery_id == "0ccc7b54-4df3-4bca-a65a-3da1ecc70001"
    assert call.raw["connection_id"] == "1494404757140276705"
    assert (call.raw["tags"], call.raw["client_state"]) == ("[]", "")


@pytest.mark.parametrize("number", range(2, 15))
def test_everything_else_at_the_inbound_url_is_a_report(number: int) -> None:
    assert is_report(captured_event(number))


def test_our_own_dial_is_never_an_inbound_call() -> None:
    request = captured_event(2)
    assert parse_incoming(request).direction is Direction.OUTBOUND
    with pytest.raises(InvalidRequest, match="asks for nothing"):
        parse_incoming(captured_event(3))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"data":[]}'])
def test_documents_that_are_none(body: bytes) -> None:
    request = document(body)
    assert not is_report(request)
    for parse in (parse_incoming, parse_event):
        with pytest.raises(InvalidRequest):
            parse(request)


def test_a_status_capture() -> None:
    changed = parse_event(captured_form("texml_status_completed.form"))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (CallEvent.COMPLETED, "completed")
    assert (changed.duration_s, changed.sequence) == (37, 0)
    assert (changed.from_number, changed.to_number) == ("+14155550100", "+13125550123")


@pytest.mark.parametrize("word", [*CALL_EVENTS, "hovering"])
def test_status_words(word: str) -> None:
    changed = parse_event(
        form(CallStatus=word, CallbackSource="call-progress-events", AnsweredBy="human")
    )
    assert isinstance(changed, CallChanged)
    assert changed.event is CALL_EVENTS.get(word, CallEvent.UNKNOWN)
    assert (changed.carrier_word, changed.answered_by) == (word, "human")


@pytest.mark.parametrize("word", ["started", "stopped", "error"])
def test_stream_captures(word: str) -> None:
    changed = parse_event(captured_form(f"texml_stream-{word}.form"))
    assert isinstance(changed, StreamChanged)
    assert changed.word == f"stream-{word}"
    assert changed.stream_id == "32de0dea-53cb-4b21-89a4-9e1819c043bc"
    assert changed.error == ("connection_failed" if word == "error" else "")


@pytest.mark.parametrize("more", [{}, {"CallStatus": "in-progress"}])
@pytest.mark.parametrize("word", [*AMD_VERDICTS, "cat"])
def test_detection(word: str, more: dict[str, str]) -> None:
    reported = parse_event(form(AnsweredBy=word, MachineDetectionDuration="1200", **more))
    assert isinstance(reported, AmdReported)
    assert reported.verdict is AMD_VERDICTS.get(word, AmdVerdict.UNKNOWN)
    assert (reported.carrier_word, reported.duration_ms) == (word, 1200)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"RecordingStatus": "completed"}, "RecordingStatus=completed"),
        ({"DialCallStatus": "busy", "CallStatus": "in-progress"}, "DialCallStatus=busy"),
        ({"Digits": "1"}, ""),
    ],
)
def test_unknown_reports(fields: dict[str, str], word: str) -> None:
    report = parse_event(form(**fields))
    assert isinstance(report, UnknownReport)
    assert report.word == word


@pytest.mark.parametrize("ids", [{"CallSid": ""}, {"CallSid": "a b"}, {"AccountSid": "a/b"}])
def test_ids_must_be_ids(ids: dict[str, str]) -> None:
    for parse in (parse_incoming, parse_event):
        with pytest.raises(InvalidRequest, match="missing or malformed"):
            parse(form(**ids))


def test_bodies_of_another_kind() -> None:
    for body, headers in ((b"a=%ff", [("Content-Type", FORM)]), (b"<a/>", [])):
        request = replace(signed(body), headers=headers)
        for parse in (parse_incoming, parse_event):
            with pytest.raises(InvalidRequest):
                parse(request)


@pytest.mark.parametrize(
    ("number", "what", "word"),
    [
        (2, CallEvent.RINGING, "call.initiated"),
        (3, CallEvent.ANSWERED, "call.answered"),
        (10, CallEvent.ANSWERED, "call.bridged"),
        (12, CallEvent.COMPLETED, "normal_clearing"),
        (13, CallEvent.BUSY, "user_busy"),
    ],
)
def test_captured_changes(number: int, what: CallEvent, word: str) -> None:
    changed = parse_event(captured_event(number))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (what, word)
    assert (changed.carrier_call_id, changed.sequence) == (CALL_ID, None)
    assert changed.delivery_id == f"0ccc7b54-4df3-4bca-a65a-3da1ecc700{number:02}"
    if number == 12:
        assert (changed.duration_s, changed.cause) == (37, "200")


@pytest.mark.parametrize("cause", [*HANGUP_EVENTS, "flew_away", None])
def test_a_hangup_is_the_end_whatever_its_cause(cause: str | None) -> None:
    changed = parse_event(event("call_hangup", hangup_cause=cause))
    assert isinstance(changed, CallChanged)
    assert changed.event is HANGUP_EVENTS.get(cause or "", CallEvent.FAILED)
    assert changed.carrier_word == (cause or "unspecified")


@pytest.mark.parametrize(
    ("start", "end", "duration_s"),
    [
        ("2026-10-06T10:15:42.1Z", "2026-10-06T10:15:44.0Z", 1),
        ("2026-10-06T10:15:42Z", "2026-10-06T10:15:41Z", None),
        ("2026-10-06T10:15:42Z", "2026-10-06T10:15:44", None),
        ("yesterday", "2026-10-06T10:15:44Z", None),
        ("", "", None),
        (5, None, None),
    ],
)
def test_durations(start: object, end: object, duration_s: int | None) -> None:
    changed = parse_event(event("call.hangup", start_time=start, end_time=end))
    assert isinstance(changed, CallChanged)
    assert changed.duration_s == duration_s


@pytest.mark.parametrize(
    ("number", "word", "error"),
    [
        (4, "streaming.started", ""),
        (5, "streaming.failed", "connection_failed"),
        (11, "streaming.stopped", ""),
    ],
)
def test_captured_stream_reports(number: int, word: str, error: str) -> None:
    changed = parse_event(captured_event(number))
    assert isinstance(changed, StreamChanged)
    assert (changed.word, changed.error) == (word, error)


@pytest.mark.parametrize(
    ("number", "verdict", "word"),
    [
        (7, AmdVerdict.HUMAN, "human"),
        (8, AmdVerdict.MACHINE, "machine"),
        (9, AmdVerdict.MACHINE, "beep_detected"),
    ],
)
def test_captured_detection(number: int, verdict: AmdVerdict, word: str) -> None:
    reported = parse_event(captured_event(number))
    assert isinstance(reported, AmdReported)
    assert (reported.verdict, reported.carrier_word) == (verdict, word)


@pytest.mark.parametrize(
    ("number", "word", "call_id"),
    [(6, "call.dtmf.received", CALL_ID), (14, "call.recording.saved", "")],
)
def test_captured_reports_of_other_kinds(number: int, word: str, call_id: str) -> None:
    report = parse_event(captured_event(number))
    assert isinstance(report, UnknownReport)
    assert (report.word, report.carrier_call_id) == (word, call_id)


def test_the_same_event_again_says_the_same() -> None:
    """An attempt is numbered outside the event: what is kept of both must be equal."""
    body = json.loads(next(CAPTURES.glob("webhook_12_*.json")).read_text(encoding="utf-8"))
    again = {**body, "meta": {**body["meta"], "attempt": 2}}
    assert parse_event(document(again)) == parse_event(document(body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {
                "event_type": st.sampled_from(
                    ["call.initiated", "call.hangup", "streaming.failed", "call.dtmf.received"]
                )
                | json_values,
                "payload": st.dictionaries(
                    st.sampled_from(["call_control_id", "direction", "from", "hangup_cause"]),
                    json_values,
                )
                | json_values,
            }
        )
    }
)


@given(body=st.binary(max_size=80) | events.map(lambda found: json.dumps(found).encode()))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for request in (signed(body), document(body)):
        is_report(request)
        account_id(request)
        for parse in (parse_incoming, parse_event):
            with suppress(InvalidRequest):
                parse(request)
