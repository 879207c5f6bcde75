from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from plivo import plivoxml

from trunkline.carriers.plivo.markup import MARKUP
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "plivo"

STREAM_URL = "wss://voice.example.test/ws/plivo/front-desk/token"
CONTINUE_URL = "https://voice.example.test/telephony/plivo/continue/1?a=1&b=2"
STATUS_URL = "https://voice.example.test/telephony/plivo/events/1"


def canonical(text: str | bytes) -> str:
    return ElementTree.canonicalize(text, strip_text=True)


def assert_same(document: Document, official: plivoxml.ResponseElement) -> None:
    assert (document.status, document.content_type) == (200, "application/xml")
    assert canonical(document.body) == canonical(official.to_string())


def test_connect_is_what_the_official_sdk_writes() -> None:
    document = MARKUP.connect(
        StreamConnect(
            stream_url=STREAM_URL,
            parameters={"agent_name": "front-desk", "note": "ü & <b>"},
            continue_url=CONTINUE_URL,
            stream_status_url=STATUS_URL,
        )
    )
    official = plivoxml.ResponseElement()
    official.add(
        plivoxml.StreamElement(
            f"{STREAM_URL}?agent_name=front-desk&note=%C3%BC+%26+%3Cb%3E",
            bidirectional=True,
            keepCallAlive=True,
            audioTrack="inbound",
            contentType="audio/x-mulaw;rate=8000",
            statusCallbackUrl=STATUS_URL,
            statusCallbackMethod="POST",
        )
    )
    official.add(plivoxml.RedirectElement(CONTINUE_URL, method="POST"))
    assert_same(document, official)
    assert document.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?><Response>')


def test_the_captured_stream_has_the_same_attributes() -> None:
    captured = ElementTree.parse(CAPTURES / "stream.xml").find("Stream")  # noqa: S314 - a capture
    assert captured is not None
    document = MARKUP.connect(
        StreamConnect(
            stream_url=captured.text or "",
            stream_status_url=captured.attrib["statusCallbackUrl"],
        )
    )
    ours = ElementTree.fromstring(document.body).find("Stream")  # noqa: S314 - our own
    assert ours is not None
    assert ours.text == captured.text
    assert ours.attrib.items() <= captured.attrib.items()
    assert set(captured.attrib) - set(ours.attrib) == {"streamTimeout", "extraHeaders"}


def test_the_other_answers() -> None:
    official = plivoxml.ResponseElement()
    assert_same(MARKUP.accept_event(), official)
    official.add(plivoxml.HangupElement())
    assert_same(MARKUP.hangup(), official)
    official = plivoxml.ResponseElement()
    official.add(plivoxml.HangupElement(reason="busy"))
    assert_same(MARKUP.reject(), official)


def test_say_hangs_up_afterwards() -> None:
    response = ElementTree.fromstring(MARKUP.say("We are <closed> & sorry.").body)  # noqa: S314 - our own
    assert [element.tag for element in response] == ["Speak", "Hangup"]
    assert response.findtext("Speak") == "We are <closed> & sorry."


def test_forward_is_what_the_official_sdk_writes() -> None:
    official = plivoxml.ResponseElement()
    dial = plivoxml.DialElement(timeout=30, caller_id="+13125550123")
    official.add(dial.add(plivoxml.NumberElement("+14155550199")))
    assert_same(MARKUP.forward("+14155550199", caller_id="+13125550123"), official)
    captured = ElementTree.parse(CAPTURES / "dial_transfer.xml").find("Dial")  # noqa: S314 - a capture
    assert captured is not None
    ours = ElementTree.fromstring(  # noqa: S314 - our own
        MARKUP.forward("+14155550199", caller_id="+13125550123").body
    ).find("Dial")
    assert ours is not None
    assert ours.attrib.items() <= captured.attrib.items()
    assert ours.findtext("Number") == captured.findtext("Number")
