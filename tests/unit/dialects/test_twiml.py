from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.dialects.twiml import PARAMETER_CHARS, TwimlMarkup
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

MARKUP = TwimlMarkup(
    stream_attributes={"track": "inbound_track"},
    stream_parameters={"extra": "1"},
    dial_attributes={"answerOnBridge": "true"},
)
STREAM_URL = "wss://voice.example.test/ws/carrier/front-desk/token"


def parse(document: Document) -> Element:
    assert document.status == 200
    assert document.content_type == "application/xml"
    return ElementTree.fromstring(document.body)  # noqa: S314 - our own


def test_a_plain_connect_has_nothing_else() -> None:
    response = parse(TwimlMarkup().connect(StreamConnect(stream_url=STREAM_URL)))
    assert [element.tag for element in response.iter()] == ["Response", "Connect", "Stream"]
    stream = response.find("Connect/Stream")
    assert stream is not None
    assert stream.attrib == {"url": STREAM_URL}


def test_a_carrier_adds_attributes_and_parameters() -> None:
    connect = StreamConnect(
        stream_url=STREAM_URL,
        parameters={"extra": "theirs", "a": "ü & <b>"},
        continue_url="https://voice.example.test/continue?a=1&b=2",
        stream_status_url="https://voice.example.test/events",
    )
    response = parse(MARKUP.connect(connect))
    stream = response.find("Connect/Stream")
    assert stream is not None
    assert stream.attrib == {
        "url": STREAM_URL,
        "track": "inbound_track",
        "statusCallback": connect.stream_status_url,
        "statusCallbackMethod": "POST",
    }
    # Nobody's own parameter takes the place of the carrier's.
    assert {child.attrib["name"]: child.attrib["value"] for child in stream} == {
        "extra": "1",
        "a": "ü & <b>",
    }
    assert response.findtext("Redirect") == connect.continue_url


def test_parameters_must_be_short() -> None:
    assert MARKUP.fits("a", "b" * (PARAMETER_CHARS - 2))
    assert not MARKUP.fits("a", "b" * (PARAMETER_CHARS - 1))


@pytest.mark.parametrize(
    ("to_number", "noun"),
    [("+14155550100", "Number"), ("sip:a@b.test", "Sip"), ("sips:a@b.test", "Sip")],
)
def test_forward(to_number: str, noun: str) -> None:
    dial = parse(MARKUP.forward(to_number, caller_id="+1")).find("Dial")
    assert dial is not None
    assert dial.attrib == {"timeout": "30", "answerOnBridge": "true", "callerId": "+1"}
    assert dial.findtext(noun) == to_number
    assert "callerId" not in parse(MARKUP.forward(to_number))[0].attrib


def test_the_short_answers() -> None:
    def tags(document: Document) -> list[str]:
        return [verb.tag for verb in parse(document)]

    assert tags(MARKUP.hangup()) == ["Hangup"]
    assert tags(MARKUP.say("We are closed.")) == ["Say", "Hangup"]
    assert tags(MARKUP.accept_event()) == []
    (reject,) = parse(MARKUP.reject())
    assert (reject.tag, reject.attrib) == ("Reject", {"reason": "busy"})


@given(name=st.text(min_size=1), value=st.text())
def test_any_text_makes_a_document(name: str, value: str) -> None:
    connect = StreamConnect(stream_url=STREAM_URL, parameters={name: value})
    assert parse(MARKUP.connect(connect)).find("Connect/Stream/Parameter") is not None
    assert parse(MARKUP.say(value)).find("Say") is not None
