from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import VoiceResponse

from trunkline.carriers.twilio.markup import PARAMETER_CHARS, TwilioMarkup
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "twilio"

MARKUP = TwilioMarkup()
STREAM_URL = "wss://voice.example.test/ws/twilio/front-desk/token"
CONTINUE_URL = "https://voice.example.test/telephony/twilio/continue/1?a=1&b=2"
STATUS_URL = "https://voice.example.test/telephony/twilio/events/1"


def parse(document: Document) -> Element:
    assert document.status == 200
    assert document.content_type == "application/xml"
    return ElementTree.fromstring(document.body)  # noqa: S314 - our own


def canonical(text: str | bytes) -> str:
    return ElementTree.canonicalize(text, strip_text=True)


def assert_same(document: Document, official: VoiceResponse) -> None:
    parse(document)
    assert canonical(document.body.decode()) == canonical(str(official))


def test_connect_is_what_the_official_sdk_writes() -> None:
    parameters = {"agent_name": "front-desk", "note": "a <b> & \"c\" 'd' ü 日本 🙂\n"}
    document = MARKUP.connect(
        StreamConnect(
            stream_url=STREAM_URL,
            parameters=parameters,
            continue_url=CONTINUE_URL,
            stream_status_url=STATUS_URL,
        )
    )

    official = VoiceResponse()
    stream = official.connect().stream(
        url=STREAM_URL, status_callback=STATUS_URL, status_callback_method="POST"
    )
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    official.redirect(CONTINUE_URL, method="POST")
    assert_same(document, official)
    assert document.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?><Response>')


def test_connect_with_nothing_but_a_stream() -> None:
    official = VoiceResponse()
    official.connect().stream(url=STREAM_URL)
    assert_same(MARKUP.connect(StreamConnect(stream_url=STREAM_URL)), official)


def test_the_captured_connect_has_the_same_shape() -> None:
    captured = ElementTree.parse(CAPTURES / "connect_stream.xml").getroot()  # noqa: S314 - a capture
    theirs = captured.find("Connect/Stream")
    assert theirs is not None
    document = MARKUP.connect(
        StreamConnect(
            stream_url=theirs.attrib["url"],
            parameters={
                parameter.attrib["name"]: parameter.attrib["value"] for parameter in theirs
            },
            stream_status_url=theirs.attrib["statusCallback"],
        )
    )
    ours = parse(document).find("Connect/Stream")
    assert ours is not None
    del theirs.attrib["name"]
    assert canonical(ElementTree.tostring(ours)) == canonical(ElementTree.tostring(theirs))


def test_hangup() -> None:
    official = VoiceResponse()
    official.hangup()
    assert_same(MARKUP.hangup(), official)


def test_reject_is_busy_and_the_first_verb() -> None:
    official = VoiceResponse()
    official.reject(reason="busy")
    assert_same(MARKUP.reject(), official)
    captured = (CAPTURES / "reject.xml").read_text(encoding="utf-8")
    assert canonical(MARKUP.reject().body) == canonical(captured)


def test_say_hangs_up_afterwards() -> None:
    official = VoiceResponse()
    official.say("We are <closed> & sorry.")
    official.hangup()
    assert_same(MARKUP.say("We are <closed> & sorry."), official)


def test_forward_to_a_number() -> None:
    official = VoiceResponse()
    dial = official.dial(timeout=30, answer_on_bridge=True, caller_id="+15005550006")
    dial.number("+14155550199")
    assert_same(MARKUP.forward("+14155550199", caller_id="+15005550006"), official)


@pytest.mark.parametrize("address", ["sip:a@example.test", "sips:a@example.test"])
def test_forward_to_a_sip_address(address: str) -> None:
    official = VoiceResponse()
    official.dial(timeout=30, answer_on_bridge=True).sip(address)
    assert_same(MARKUP.forward(address), official)


def test_events_are_answered_with_an_empty_response() -> None:
    assert_same(MARKUP.accept_event(), VoiceResponse())


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("note", "x" * (PARAMETER_CHARS - 5), True),
        ("note", "x" * (PARAMETER_CHARS - 4), False),
        ("n" * PARAMETER_CHARS, "", False),
        ("", "", True),
    ],
)
def test_which_parameters_fit(name: str, value: str, fits: bool) -> None:
    assert MARKUP.fits(name, value) is fits


def test_what_xml_cannot_carry_is_left_out() -> None:
    text = "a\x00b\x0bc\ud800d\uffffe\tf\ng"
    document = MARKUP.connect(
        StreamConnect(stream_url=STREAM_URL, parameters={text: text}, continue_url=text)
    )
    response = parse(document)
    parameter = response.find("Connect/Stream/Parameter")
    assert parameter is not None
    assert parameter.attrib == {"name": "abcde\tf\ng", "value": "abcde\tf\ng"}
    assert response.findtext("Redirect") == "abcde\tf\ng"


@given(
    parameters=st.dictionaries(st.text(), st.text(), max_size=4),
    said=st.text(),
    address=st.text(),
)
def test_any_text_gives_a_well_formed_document(
    parameters: dict[str, str], said: str, address: str
) -> None:
    connect = parse(
        MARKUP.connect(
            StreamConnect(stream_url=address, parameters=parameters, stream_status_url=address)
        )
    )
    assert len(connect.findall("Connect/Stream/Parameter")) == len(parameters)
    assert [element.tag for element in parse(MARKUP.say(said))] == ["Say", "Hangup"]
    assert len(parse(MARKUP.forward(address, caller_id=said))) == 1
