from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.exotel.markup import ExotelMarkup, for_account, name_sample_rate
from trunkline.errors import UnsupportedByCarrier
from trunkline.telephony.carrier import StreamConnect

CAPTURES = Path(__file__).parents[3] / "captures" / "exotel"
URL = "wss://voice.example.com/ws/exotel/t_9f2c"

MARKUP = ExotelMarkup()


def test_json_names_the_url() -> None:
    document = MARKUP.connect(StreamConnect(stream_url=URL, as_json=True))
    captured = json.loads((CAPTURES / "dynamic_url_response.json").read_text(encoding="utf-8"))
    assert document.content_type == "application/json"
    assert document.status == 200
    assert json.loads(document.body) == {"url": captured["url"].partition("?")[0]}


def test_markup_is_what_set_ups_expect() -> None:
    document = MARKUP.connect(StreamConnect(stream_url=URL, continue_url="https://h/continue"))
    captured = (CAPTURES / "answer_connect_stream_unverified.xml").read_text(encoding="utf-8")
    assert document.content_type == "application/xml"
    ours, theirs = (
        ElementTree.canonicalize(text, strip_text=True)
        for text in (document.body.decode(), captured)
    )
    assert ours == theirs


def test_a_url_is_escaped() -> None:
    url = 'wss://h/ws/exotel/a&b<"c'
    markup = MARKUP.connect(StreamConnect(stream_url=url))
    stream = ElementTree.fromstring(markup.body).find("Connect/Stream")  # noqa: S314 - ours
    assert stream is not None
    assert stream.attrib["url"] == url
    as_json = MARKUP.connect(StreamConnect(stream_url=url, as_json=True))
    assert json.loads(as_json.body) == {"url": url}


def test_the_accounts_sample_rate_is_asked_for() -> None:
    account = ExotelAccount.model_validate({"sample_rate_hz": "16000"})
    document = for_account(account).connect(StreamConnect(stream_url=URL, as_json=True))
    assert json.loads(document.body) == {"url": f"{URL}?sample-rate=16000"}
    default = for_account(ExotelAccount()).connect(StreamConnect(stream_url=URL, as_json=True))
    assert json.loads(default.body) == {"url": URL}
    assert name_sample_rate("wss://h/x?a=1", 24000) == "wss://h/x?a=1&sample-rate=24000"


def test_no_parameter_travels() -> None:
    assert not MARKUP.fits("agent_name", "desk")
    with_parameters = StreamConnect(stream_url=URL, parameters={"a": "b"}, as_json=True)
    assert json.loads(MARKUP.connect(with_parameters).body) == {"url": URL}


def test_refusals_fail_the_applet() -> None:
    """Anything but a 200 with a media URL makes the flow take its next applet."""
    refusals = [MARKUP.hangup(), MARKUP.reject()]
    assert [refusal.status for refusal in refusals] == [410, 503]
    assert all("url" not in json.loads(refusal.body) for refusal in refusals)


def test_what_the_flow_alone_can_do() -> None:
    with pytest.raises(UnsupportedByCarrier):
        MARKUP.say("We are closed.")
    with pytest.raises(UnsupportedByCarrier):
        MARKUP.forward("+14155550100", caller_id="+15005550006")


def test_events_are_answered_with_nothing() -> None:
    document = MARKUP.accept_event()
    assert (document.status, document.body) == (200, b"")
