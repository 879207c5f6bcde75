from __future__ import annotations

import base64
import json

import pytest

from trunkline.carriers.exotel.wire import ExotelStream
from trunkline.simulator.connection import ClearSent, MarkSent, MediaSent
from trunkline.simulator.exotel.stream import GARBAGE, ExotelMedia, custom_parameters, format_of
from trunkline.telephony.media import AudioReceived, DtmfReceived, MarkPlayed, StreamStarted

URL = "wss://h/ws?sample-rate=16000&tenant=acme"


def new_media(url: str = URL) -> ExotelMedia:
    return ExotelMedia(
        account_id="A1",
        call_id="C1",
        stream_id="S1",
        url=url,
        from_number="09876543210",
        to_number="08047091234",
    )


def server_message(event: str, details: object = None, stream_id: str = "S1") -> str:
    message: dict[str, object] = {"event": event, "stream_sid": stream_id}
    return json.dumps(message if details is None else {**message, event: details})


def test_our_server_understands_it_and_it_our_server() -> None:
    media, stream = new_media(), ExotelStream()
    for message in (*media.opening(), media.start(), media.media(b"\1\2" * 1600)):
        stream.receive_message(message, 0)
    for message in (media.dtmf("7"), media.mark("m")):
        stream.receive_message(message, 0)
    started, heard, key, mark = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert started.received_format.sample_rate_hz == 16000
    assert started.parameters == {"tenant": "acme"}
    assert started.from_number == "+919876543210"
    assert heard == AudioReceived(b"\1\2" * 1600, 100)
    assert (key, mark) == (DtmfReceived(digit="7"), MarkPlayed(name="m"))

    stream.send_audio(b"\3\4" * 100)
    stream.send_mark("g1-1")
    stream.send_clear()
    understood = [media.receive(message) for message in stream.messages_to_send()]

    padded = b"\3\4" * 100 + bytes(120)
    assert understood == [MediaSent(payload=padded), MarkSent(name="g1-1"), ClearSent()]
    assert media.violations == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff", "bad_message"),
        ("{", "bad_message"),
        ("[]", "bad_message"),
        (server_message("video"), "bad_message"),
        (server_message("mark", {}), "bad_message"),
        (server_message("media", {}), "bad_message"),
        (server_message("media", {"payload": 5}), "bad_message"),
        (server_message("media", {"payload": "?"}), "bad_message"),
        (server_message("clear", stream_id="S2"), "wrong_stream"),
    ],
)
def test_what_is_ignored(message: str | bytes, code: str) -> None:
    media = new_media()
    assert media.receive(message) is None
    assert [violation.code for violation in media.violations] == [code]


@pytest.mark.parametrize("n_bytes", [160, 102_720])
def test_sizes_that_sound_wrong(n_bytes: int) -> None:
    media = new_media()
    payload = base64.b64encode(bytes(n_bytes)).decode()
    assert media.receive(server_message("media", {"payload": payload})) is not None
    assert [violation.code for violation in media.violations] == ["payload_size"]


def test_time_goes_on_over_audio_that_was_thrown_away() -> None:
    media = new_media()
    media.skip(3200)
    assert json.loads(media.media(bytes(3200)))["media"]["timestamp"] == "200"


@pytest.mark.parametrize(("has_ended", "reason"), [(True, "callended"), (False, "stopped")])
def test_the_end(has_ended: bool, reason: str) -> None:
    media = new_media()
    media.has_call_ended = has_ended
    (stop,) = media.ending()
    assert json.loads(stop)["stop"]["reason"] == reason
    assert media.cleared(["m"]) == ()


@pytest.mark.parametrize(
    ("query", "rate_hz"),
    [("", 8000), ("?sample_rate=24000", 24000), ("?sample-rate=44100", 8000)],
)
def test_rates(query: str, rate_hz: int) -> None:
    assert format_of(f"wss://h/ws{query}").sample_rate_hz == rate_hz


def test_three_short_parameters_arrive() -> None:
    query = "sample-rate=8000&a=1&b=" + "x" * 300 + "&c=3&d=4"
    assert custom_parameters(f"wss://h/ws?{query}") == {"a": "1", "c": "3"}


def test_nonsense_breaks_nothing() -> None:
    stream = ExotelStream()
    for message in (new_media().start(), *GARBAGE):
        stream.receive_message(message, 0)
    assert len(stream.events_received()) == 1 + len(GARBAGE)
