from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.simulator.play_audio.xml import (
    Dial,
    Hangup,
    Redirect,
    Speak,
    StreamElement,
    XmlError,
    check_content_type,
    parse_xml,
)
from trunkline.simulator.plivo import RULES

STREAM = (
    '<Response><Stream bidirectional="true" keepCallAlive="true"'
    ' contentType="audio/x-mulaw;rate=8000"{more}>{url}</Stream></Response>'
)


def stream(url: str, more: str = "") -> str:
    return STREAM.format(url=url, more=more)


def test_all_elements() -> None:
    document = """<?xml version="1.0" encoding="UTF-8"?>
    <Response>
      <Speak voice="WOMAN">Hello</Speak>
      <Stream bidirectional="true" keepCallAlive="true" contentType="audio/x-mulaw;rate=8000"
              statusCallbackUrl="https://x/s"> wss://x/ws?a=1&amp;b=2 </Stream>
      <Dial timeout="5" action="https://x/d"><Number>1415</Number></Dial>
      <Redirect method="GET">https://x/r</Redirect>
      <Hangup reason="busy"/>
      <Pause/>
    </Response>"""
    verbs, warnings = parse_xml(document, RULES)
    assert list(verbs) == [
        Speak(text="Hello"),
        StreamElement(
            url="wss://x/ws?a=1&b=2",
            parameters={"a": "1", "b": "2"},
            keeps_call_alive=True,
            status_url="https://x/s",
        ),
        Dial(target="1415", timeout_s=5.0, action_url="https://x/d"),
        Redirect(url="https://x/r", method="GET"),
        Hangup(reason="busy"),
    ]
    assert [each.detail for each in warnings] == ["<Pause> is not known"]


@pytest.mark.parametrize(
    "url", ["wss://x/ws", "ws://127.0.0.1:1/ws", "ws://localhost/", "ws://[::1]/"]
)
def test_urls_that_are_connected(url: str) -> None:
    (verb,), _ = parse_xml(stream(url), RULES)
    assert isinstance(verb, StreamElement)
    assert verb.url == url


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("", "8011"),
        ("<Response>", "8011"),
        ("<Answer/>", "8011"),
        (stream("ws://example.test/"), "stream_url"),
        (stream("https://example.test/"), "stream_url"),
        (stream("wss://x/" + "y" * 2048), "stream_url"),
        (stream("wss://x/", ' audioTrack="both"'), "audioTrack"),
        ("<Response><Stream>wss://x/</Stream></Response>", "bidirectional"),
        ('<Response><Stream bidirectional="true">wss://x/</Stream></Response>', "contentType"),
    ],
)
def test_what_ends_the_call(document: str, code: str) -> None:
    with pytest.raises(XmlError) as caught:
        parse_xml(document, RULES)
    assert caught.value.violation.code == code


def test_content_types() -> None:
    check_content_type("application/xml; charset=utf-8")
    check_content_type("TEXT/XML")
    for content_type in ("", "text/html", "application/json"):
        with pytest.raises(XmlError):
            check_content_type(content_type)


@given(st.text())
def test_any_document_gives_elements_or_the_documented_error(document: str) -> None:
    with suppress(XmlError):
        parse_xml(document, RULES)
