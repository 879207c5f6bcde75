from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vonage_voice.models.common import WebsocketAuthorization
from vonage_voice.models.connect_endpoints import PhoneEndpoint, SipEndpoint, WebsocketEndpoint
from vonage_voice.models.ncco import Connect, NccoAction, Talk

from trunkline.carriers.vonage.account import VonageAccount
from trunkline.carriers.vonage.markup import (
    HEADERS_BYTES,
    TALK_CHARS,
    VonageMarkup,
    account_markup,
)
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "vonage"

MARKUP = VonageMarkup()
STREAM_URL = "wss://voice.example.test/ws/vonage/front-desk/token"
CONTINUE_URL = "https://voice.example.test/telephony/vonage/continue/1?a=1&b=2"
STATUS_URL = "https://voice.example.test/telephony/vonage/events/1"


def parse(document: Document) -> list[dict[str, Any]]:
    assert (document.status, document.content_type) == (200, "application/json")
    return json.loads(document.body)


def official(*actions: NccoAction) -> list[dict[str, Any]]:
    """What the official SDK would write."""
    return [action.model_dump(mode="json", by_alias=True, exclude_none=True) for action in actions]


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
    (theirs,) = official(
        Connect(
            endpoint=[
                WebsocketEndpoint(
                    uri=STREAM_URL,
                    contentType="audio/l16;rate=16000",
                    headers=parameters,
                    authorization=WebsocketAuthorization(type="vonage"),
                )
            ],
            from_="442079460000",  # which it asks for, and Vonage does not
            eventType="synchronous",
            eventUrl=[CONTINUE_URL],
            eventMethod="POST",
        )
    )
    del theirs["from"]
    assert parse(document) == [theirs]


def test_the_captured_connect_has_the_same_shape() -> None:
    (captured,) = json.loads((CAPTURES / "ncco_websocket.json").read_text(encoding="utf-8"))
    (endpoint,) = captured["endpoint"]
    headers = endpoint["headers"]
    headers["vonage_call_sid"] = headers.pop("call_uuid")  # our name for it
    document = MARKUP.connect(
        StreamConnect(
            stream_url=endpoint["uri"], parameters=headers, continue_url=captured["eventUrl"][0]
        )
    )
    del captured["from"]
    assert parse(document) == [captured]


def test_connect_with_nothing_but_a_stream() -> None:
    (action,) = parse(MARKUP.connect(StreamConnect(stream_url=STREAM_URL)))
    assert set(action) == {"action", "endpoint"}
    assert action["endpoint"][0]["headers"] == {}


def test_events_go_to_the_status_url_where_nothing_continues() -> None:
    connect = StreamConnect(stream_url=STREAM_URL, stream_status_url=STATUS_URL)
    (action,) = parse(MARKUP.connect(connect))
    assert action["eventUrl"] == [STATUS_URL]
    assert "eventType" not in action


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
def test_an_account_sets_rate_and_proof(rate_hz: int) -> None:
    account = VonageAccount(sample_rate_hz=rate_hz, signed_upgrades=False)
    connect = StreamConnect(stream_url=STREAM_URL)
    (action,) = parse(account_markup(account).connect(connect))
    (endpoint,) = action["endpoint"]
    assert endpoint["content-type"] == f"audio/l16;rate={rate_hz}"
    assert "authorization" not in endpoint


def test_what_the_bot_needs_travels_first() -> None:
    needed = {
        "agent_name": "front-desk",
        "direction": "inbound",
        "from_number": "+447700900000",
        "to_number": "+442079460000",
        "vonage_call_sid": "aaaaaaaa-bbbb-cccc-dddd-000000000001",
    }
    custom = {f"key{number}": "x" * 100 for number in range(10)}
    (action,) = parse(
        MARKUP.connect(StreamConnect(stream_url=STREAM_URL, parameters=custom | needed))
    )
    headers = action["endpoint"][0]["headers"]
    assert needed.items() <= headers.items()
    assert set(headers) - set(needed) == {"key0", "key1", "key2"}
    assert len(json.dumps(headers)) <= HEADERS_BYTES


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("note", "x" * (HEADERS_BYTES - 12), True),
        ("note", "x" * (HEADERS_BYTES - 11), False),
        ("note", "ü" * 83, True),
        ("note", "ü" * 84, False),
        ("event", "x", False),
        ("content-type", "x", False),
        ("call_uuid", "x", False),
        ("stream_id", "x", False),
        ("", "", True),
    ],
)
def test_which_parameters_fit(name: str, value: str, fits: bool) -> None:
    assert MARKUP.fits(name, value) is fits


def test_a_reserved_name_is_left_out_if_it_comes_anyway() -> None:
    connect = StreamConnect(stream_url=STREAM_URL, parameters={"event": "x", "a": "b"})
    (action,) = parse(MARKUP.connect(connect))
    assert action["endpoint"][0]["headers"] == {"a": "b"}


def test_a_call_ends_with_nothing_to_do() -> None:
    assert MARKUP.hangup().body == MARKUP.reject().body == b"[]"
    parse(MARKUP.hangup())


def test_say() -> None:
    assert parse(MARKUP.say("We are <closed>.")) == official(Talk(text="We are <closed>."))
    long = "word " * 700
    assert parse(MARKUP.say(long)) == official(
        *[Talk(text=long[start : start + TALK_CHARS]) for start in (0, TALK_CHARS, 2 * TALK_CHARS)]
    )


def test_forward_to_a_number() -> None:
    theirs = Connect(
        endpoint=[PhoneEndpoint(number="447700900123")], from_="442079460000", timeout=30
    )
    ours = MARKUP.forward("+447700900123", caller_id="+442079460000")
    assert parse(ours) == official(theirs)
    captured = json.loads((CAPTURES / "ncco_transfer.json").read_text(encoding="utf-8"))[1]
    del captured["eventUrl"], captured["endpoint"][0]["dtmfAnswer"]
    assert parse(ours) == [captured]


@pytest.mark.parametrize("address", ["sip:a@example.test", "sips:a@example.test"])
@pytest.mark.parametrize("caller_id", [None, "anonymous"])
def test_forward_to_a_sip_address(address: str, caller_id: str | None) -> None:
    (action,) = parse(MARKUP.forward(address, caller_id=caller_id))
    theirs = Connect(
        endpoint=[SipEndpoint(uri="sip:a@example.test")], randomFromNumber=True, timeout=30
    )
    (expected,) = official(theirs)
    expected["endpoint"][0]["uri"] = address  # of which the SDK knows only the first kind
    assert action == expected


def test_events_are_answered_with_nothing() -> None:
    document = MARKUP.accept_event()
    assert (document.status, document.body) == (204, b"")


@given(
    parameters=st.dictionaries(st.text(), st.text(), max_size=8),
    said=st.text(),
    address=st.text(),
)
def test_any_text_gives_a_document(parameters: dict[str, str], said: str, address: str) -> None:
    (action,) = parse(
        MARKUP.connect(
            StreamConnect(stream_url=address, parameters=parameters, continue_url=address)
        )
    )
    headers = action["endpoint"][0]["headers"]
    assert len(json.dumps(headers)) <= HEADERS_BYTES
    assert all(MARKUP.fits(name, value) for name, value in headers.items())
    parse(MARKUP.say(said))
    parse(MARKUP.forward(address, caller_id=said))
