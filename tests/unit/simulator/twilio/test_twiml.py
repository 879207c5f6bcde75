from __future__ import annotations

from pathlib import Path

import pytest
from twilio.twiml.voice_response import Connect as SdkConnect
from twilio.twiml.voice_response import VoiceResponse

from trunkline.simulator.twilio.twiml import (
    Connect,
    Dial,
    Hangup,
    PauseVerb,
    Redirect,
    Reject,
    SayVerb,
    TwimlError,
    check_content_type,
    parse_twiml,
)

BASE = "https://voice.example.test/inbound/a"
CAPTURES = Path(__file__).resolve().parents[3] / "captures" / "twilio"


def stream(attributes: str, inside: str = "") -> str:
    return f"<Response><Connect><Stream {attributes}>{inside}</Stream></Connect></Response>"


def code_of(document: str) -> str:
    with pytest.raises(TwimlError) as refused:
        parse_twiml(document, base_url=BASE)
    return refused.value.violation.code


def test_the_captured_document_is_understood() -> None:
    text = (CAPTURES / "connect_stream.xml").read_text(encoding="utf-8")
    verbs, warnings = parse_twiml(text, base_url=BASE)

    assert warnings == []
    connect, hangup = verbs
    assert isinstance(connect, Connect)
    assert connect.url == "wss://voice.example.test/telephony/twilio/ws/tok_0123456789abcdef"
    assert connect.parameters == {"run_id": "42", "caller": "+14155550100"}
    assert connect.status_url == "https://voice.example.test/telephony/twilio/stream-status"
    assert hangup == Hangup()


def test_what_the_official_sdk_writes_is_understood() -> None:
    response = VoiceResponse()
    connect = SdkConnect(action="/after")
    element = connect.stream(url="wss://voice.example.test/ws", name="bot")
    element.parameter(name="a&b", value="<1>")
    response.append(connect)
    response.redirect("/continue", method="GET")
    response.say("Hello")
    response.pause(length=3)
    response.dial("+14155550111", timeout=5)
    response.reject(reason="busy")
    verbs, _ = parse_twiml(str(response), base_url=BASE)

    assert verbs == [
        Connect(
            url="wss://voice.example.test/ws",
            name="bot",
            parameters={"a&b": "<1>"},
            action_url="https://voice.example.test/after",
        ),
        Redirect(url="https://voice.example.test/continue", method="GET"),
        SayVerb(text="Hello"),
        PauseVerb(length_s=3.0),
        Dial(target="+14155550111", timeout_s=5.0),
        Reject(reason="busy"),
    ]


def test_a_captured_transfer_is_understood() -> None:
    text = (CAPTURES / "dial_transfer.xml").read_text(encoding="utf-8")
    (dial,), _ = parse_twiml(text, base_url=BASE)

    assert isinstance(dial, Dial)
    assert dial.target == "+14155550199"
    assert dial.action_url is not None


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<Response", "12100"),
        ("<Answer/>", "12100"),
        ("", "12100"),
        ("<Response><Connect/></Response>", "12200"),
        (stream('url="wss://x.test/a?token=1"'), "31920"),
        (stream('url="ws://voice.example.test/a"'), "31920"),
        (stream('url="wss://x.test/a" track="both_tracks"'), "31941"),
        (stream('url="wss://x.test/a"', f'<Parameter name="a" value="{"x" * 499}"/>'), "12200"),
        (stream('url="wss://x.test/a"', '<Parameter value="x"/>'), "12200"),
    ],
)
def test_what_twilio_would_refuse_is_refused(document: str, code: str) -> None:
    assert code_of(document) == code


def test_the_longest_parameter_that_twilio_takes_is_taken() -> None:
    longest = f'<Parameter name="a" value="{"x" * 498}"/>'

    assert parse_twiml(stream('url="wss://x.test/a"', longest), base_url=BASE)[0]


def test_plain_ws_is_for_loopback_only() -> None:
    (connect,), _ = parse_twiml(stream('url="ws://127.0.0.1:9/a"'), base_url=BASE)

    assert isinstance(connect, Connect)


def test_a_relative_stream_goes_to_where_the_document_came_from() -> None:
    (connect,), _ = parse_twiml(stream('url="/ws/a"'), base_url=BASE)

    assert isinstance(connect, Connect)
    assert connect.url == "wss://voice.example.test/ws/a"


def test_a_verb_that_is_not_simulated_is_said() -> None:
    verbs, warnings = parse_twiml("<Response><Gather/><Hangup/></Response>", base_url=BASE)

    assert verbs == [Hangup()]
    assert [warning.code for warning in warnings] == ["12200"]


@pytest.mark.parametrize("good", ["text/xml", "application/xml; charset=utf-8"])
def test_xml_is_read(good: str) -> None:
    check_content_type(good)


@pytest.mark.parametrize("bad", ["application/json", "", "text/plain"])
def test_other_content_is_not(bad: str) -> None:
    with pytest.raises(TwimlError, match="12300"):
        check_content_type(bad)
