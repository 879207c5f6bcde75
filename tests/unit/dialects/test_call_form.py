from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.dialects.call_form import (
    account_id,
    has_form_body,
    is_report,
    parameters,
    parse_event,
    parse_incoming,
    to_e164,
)
from trunkline.errors import InvalidRequest
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    StreamChanged,
    UnknownReport,
    WebhookRequest,
)

URL = "https://voice.example.test/hook"
FORM = "application/x-www-form-urlencoded"


def post(content_type: str = FORM, **fields: str) -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=URL,
        headers=[("Content-Type", content_type)],
        body=urlencode({"CallUUID": "C1", **fields}).encode(),
    )


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("14155550100", "+14155550100"),
        ("+14155550100", "+14155550100"),
        ("09876543210", "09876543210"),
        ("123", "123"),
        ("1" * 16, "1" * 16),
        ("sip:a@example.test", "sip:a@example.test"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_numbers(number: str, expected: str) -> None:
    assert to_e164(number) == expected


def test_a_call_comes_in() -> None:
    call = parse_incoming(
        post(From="14155550100", To="13125550123", ParentAuthID="MA1", Direction="inbound")
    )
    assert (call.carrier_call_id, call.account_id) == ("C1", "MA1")
    assert (call.from_number, call.to_number) == ("+14155550100", "+13125550123")
    assert (call.direction, call.dial_id) == (Direction.INBOUND, None)
    assert call.raw["ParentAuthID"] == "MA1"


def test_a_call_with_nothing_but_its_id() -> None:
    call = parse_incoming(post())
    assert (call.from_number, call.to_number, call.account_id) == ("anonymous", "", "")
    assert call.direction is Direction.INBOUND


def test_an_outbound_call_is_answered() -> None:
    call = parse_incoming(post(Direction="outbound", RequestUUID="R1", Event="StartApp"))
    assert (call.direction, call.dial_id) == (Direction.OUTBOUND, "R1")


def test_a_get_has_its_fields_in_the_query() -> None:
    request = WebhookRequest(
        method="get", url=f"{URL}?CallUUID=C1&From=sip%3Aa%40b&ParentAuthID=MA1", headers=[]
    )
    assert not has_form_body(request)
    assert parse_incoming(request).from_number == "sip:a@b"
    assert account_id(request) == "MA1"


def test_the_same_delivery_has_the_same_key() -> None:
    first = parse_incoming(post(Event="StartApp", CallStatus="ringing"))
    again = parse_incoming(post(CallStatus="ringing", Event="StartApp", CallerName="x"))
    ended = parse_event(post(Event="Hangup", CallStatus="completed"))
    assert isinstance(ended, CallChanged)
    assert first.delivery_id == again.delivery_id != ended.delivery_id


def test_a_hang_up_at_the_answer_url_is_a_report() -> None:
    request = post(Event="Hangup", CallStatus="completed")
    assert is_report(request)
    with pytest.raises(InvalidRequest, match="asks for no markup"):
        parse_incoming(request)
    assert not is_report(post(Event="StartApp"))
    assert not is_report(post(content_type="application/json"))


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("queued", CallEvent.INITIATED),
        ("ringing", CallEvent.RINGING),
        ("in-progress", CallEvent.ANSWERED),
        ("completed", CallEvent.COMPLETED),
        ("busy", CallEvent.BUSY),
        ("failed", CallEvent.FAILED),
        ("timeout", CallEvent.NO_ANSWER),
        ("no-answer", CallEvent.NO_ANSWER),
        ("cancel", CallEvent.CANCELED),
        ("hovering", CallEvent.UNKNOWN),
    ],
)
def test_statuses(status: str, event: CallEvent) -> None:
    changed = parse_event(post(Event="Hangup", CallStatus=status, From="", To="14155550100"))
    assert isinstance(changed, CallChanged)
    assert (changed.event, changed.carrier_word) == (event, status)
    assert (changed.from_number, changed.to_number) == (None, "+14155550100")
    assert (changed.duration_s, changed.cause) == (None, "")


def test_how_a_call_ended() -> None:
    changed = parse_event(
        post(
            Event="Hangup",
            CallStatus="completed",
            Duration="37",
            BillDuration="60",
            HangupCause="NORMAL_CLEARING",
            HangupCauseName="Normal Hangup",
            HangupCauseCode="4000",
            RequestUUID="R1",
        )
    )
    assert isinstance(changed, CallChanged)
    assert (changed.duration_s, changed.cause) == (37, "4000 Normal Hangup")
    assert changed.dial_id == "R1"
    changed = parse_event(
        post(Event="Hangup", CallStatus="busy", HangupCause="USER_BUSY", Duration="-1")
    )
    assert isinstance(changed, CallChanged)
    assert (changed.duration_s, changed.cause) == (None, "USER_BUSY")


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("true", AmdVerdict.MACHINE),
        ("True", AmdVerdict.MACHINE),
        ("false", AmdVerdict.HUMAN),
        ("", AmdVerdict.UNKNOWN),
    ],
)
def test_machines(word: str, verdict: AmdVerdict) -> None:
    report = parse_event(post(Event="MachineDetection", Machine=word, CallStatus="in-progress"))
    assert isinstance(report, AmdReported)
    assert (report.verdict, report.carrier_word) == (verdict, word)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ("StartStream", "StartStream"),
        ("StopStream", "StopStream"),
        ("DroppedStream", "DroppedStream"),
        ("DegradedStream", "DegradedStream"),
        ("PlayedStream", "PlayedStream"),
        ("ClearedAudio", "ClearedAudio"),
        ("started", "StartStream"),
        ("stopped", "StopStream"),
        ("failed", "DroppedStream"),
    ],
)
def test_streams(event: str, word: str) -> None:
    changed = parse_event(post(Event=event, StreamID="S1", StatusReason="why"))
    assert isinstance(changed, StreamChanged)
    assert (changed.word, changed.stream_id, changed.error) == (word, "S1", "why")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"Event": "Redirect", "CallStatus": "in-progress", "DialStatus": "busy"}, "Redirect"),
        ({"CallStatus": "in-progress", "DialStatus": "busy"}, "DialStatus"),
        ({"Event": "Record", "CallStatus": "in-progress"}, "Record"),
        ({"Event": "Hangup"}, "Hangup"),
        ({}, ""),
    ],
)
def test_other_reports_change_nothing(fields: dict[str, str], word: str) -> None:
    report = parse_event(post(**fields))
    assert isinstance(report, UnknownReport)
    assert report.word == word


@pytest.mark.parametrize("call_id", ["", "a b", "a/b", "x" * 65, "ü"])
def test_a_call_id_that_is_none(call_id: str) -> None:
    for parse in (parse_incoming, parse_event):
        with pytest.raises(InvalidRequest, match="CallUUID"):
            parse(post(CallUUID=call_id))


@pytest.mark.parametrize(
    "request_",
    [
        post(content_type="application/json"),
        WebhookRequest(method="POST", url=URL, headers=[], body=b"CallUUID=C1"),
        WebhookRequest(method="POST", url=URL, headers=[("content-type", FORM)], body=b"a=\xff"),
        WebhookRequest(method="POST", url=URL, headers=[("content-type", FORM)], body=b"a=%ff"),
        WebhookRequest(method="GET", url=f"{URL}?a=%ff", headers=[]),
    ],
)
def test_what_is_no_form(request_: WebhookRequest) -> None:
    with pytest.raises(InvalidRequest):
        parse_incoming(request_)
    assert account_id(request_) is None


def test_an_empty_post_is_an_empty_form() -> None:
    assert parameters(WebhookRequest(method="POST", url=URL, headers=[])) == []


@given(
    method=st.sampled_from(["GET", "POST"]),
    body=st.binary()
    | st.dictionaries(
        st.sampled_from(["CallUUID", "Event", "CallStatus", "From", "Direction", "Machine"]),
        st.sampled_from(["C1", "Hangup", "StartStream", "MachineDetection", "", "x"]) | st.text(),
    ).map(lambda fields: urlencode(fields, errors="replace").encode()),
)
def test_any_request_gives_a_call_or_the_documented_error(method: str, body: bytes) -> None:
    query = body.decode("latin-1") if method == "GET" else ""
    request = WebhookRequest(
        method=method,
        url=f"{URL}?{query}",
        headers=[("Content-Type", FORM)],
        body=b"" if query else body,
    )
    account_id(request)
    is_report(request)
    for parse in (parse_incoming, parse_event):
        with suppress(InvalidRequest):
            assert parse(request).carrier_call_id
