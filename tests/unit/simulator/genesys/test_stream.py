from __future__ import annotations

import json

import pytest

from trunkline.carriers.genesys.wire import GenesysStream
from trunkline.simulator.connection import ClearSent, MediaSent, StopSent
from trunkline.simulator.genesys.stream import GARBAGE, NIL_ID, GenesysMedia
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    ProtocolWarning,
    StreamStarted,
    StreamState,
    StreamStopped,
)

FRAME = b"\x7f" * 1600


def new_media(conversation_id: str = "c1") -> GenesysMedia:
    return GenesysMedia(
        organization_id="o1",
        session_id="s1",
        conversation_id=conversation_id,
        from_number="+447700900000",
        to_number="+442079460000",
        variables={"tenant": "acme"},
    )


def exchange(media: GenesysMedia, stream: GenesysStream) -> list[object]:
    """Give the server's messages to Genesys; return what it understood."""
    return [media.receive(message) for message in stream.messages_to_send()]


def opened() -> tuple[GenesysMedia, GenesysStream]:
    media, stream = new_media(), GenesysStream()
    stream.receive_message(media.start(), 0)
    exchange(media, stream)
    assert media.was_opened
    return media, stream


def codes(media: GenesysMedia) -> list[str]:
    return [violation.code for violation in media.violations]


def server_message(kind: str, *, seq: int = 2, confirmed: int = 1, **changes: object) -> str:
    message = {"version": "2", "id": "s1", "type": kind, "seq": seq, "clientseq": confirmed}
    return json.dumps({**message, "parameters": {}, **changes})


def test_our_server_understands_it_and_it_our_server() -> None:
    media, stream = opened()
    (started,) = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert (started.from_number, started.parameters) == ("+447700900000", {"tenant": "acme"})

    stream.receive_message(media.media(FRAME), 200)
    stream.receive_message(media.dtmf("*"), 200)
    assert stream.events_received() == [AudioReceived(FRAME, 0), DtmfReceived(digit="*")]

    stream.send_audio(FRAME)
    stream.send_clear()
    assert exchange(media, stream) == [MediaSent(payload=FRAME), ClearSent()]

    stream.send_close()
    assert exchange(media, stream) == [None]
    assert media.disconnect_reason == "completed"
    for reply in media.take_replies():
        stream.receive_message(reply, 400)
    assert stream.events_received() == [StreamStopped(reason="disconnect", call_ended=False)]
    assert exchange(media, stream) == [StopSent()]
    assert media.ending() == ()
    assert media.violations == []


def test_the_caller_hangs_up() -> None:
    media, stream = opened()
    (close,) = media.ending()
    stream.receive_message(close, 0)
    assert stream.events_received()[-1] == StreamStopped(reason="end", call_ended=True)
    assert exchange(media, stream) == [StopSent()]


def test_a_connection_test() -> None:
    media, stream = new_media(NIL_ID), GenesysStream()
    stream.receive_message(media.start(), 0)
    assert exchange(media, stream) == [None]
    assert media.was_opened
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == [ProtocolWarning(code="connection_probe")]


def test_pings_are_answered() -> None:
    media, stream = opened()
    pings = 0
    for _ in range(75):  # fifteen seconds
        media.media(FRAME)
        for reply in media.take_replies():
            pings += 1
            stream.receive_message(reply, 0)
            exchange(media, stream)
    assert pings == 3
    assert media.violations == []


def test_a_server_that_does_not_answer() -> None:
    media = new_media()
    media.start()
    for _ in range(75):
        media.skip(1600)
    assert set(codes(media)) == {"408"}
    assert len(codes(media)) == 3  # opened once, and two pings


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "400"),
        ("[]", "400"),
        (server_message("pong", version="1"), "400"),
        (server_message("pong", id="s2"), "400"),
        (server_message("pong", seq=3), "400"),
        (server_message("pong", seq=1), "400"),
        (server_message("pong", parameters=None), "400"),
        (server_message("pong", confirmed=2), "400"),
        (server_message("closed"), "409"),
        (server_message("error"), "405"),
        (server_message("opened", parameters={"media": [{"format": "L16"}]}), "415"),
        (b"", "413"),
        (bytes(64_001), "413"),
    ],
)
def test_what_ends_sessions(message: str | bytes, code: str) -> None:
    media, _ = opened()
    assert media.receive(message) is None
    assert codes(media) == [code]


def test_audio_at_the_wrong_time() -> None:
    early = new_media()
    assert early.receive(FRAME) is None
    late, _ = opened()
    late.ending()
    assert late.receive(FRAME) is None
    assert codes(early) == codes(late) == ["409"]


def test_fifty_messages_a_second_are_too_many() -> None:
    media, _ = opened()
    for _ in range(10):
        media.media(FRAME)
        for _ in range(10):
            media.receive(bytes(160))
    assert "429" in codes(media)


def test_other_events_are_reports() -> None:
    media, _ = opened()
    entities = [{"type": "bot_turn_response", "data": {}}]
    told = server_message("event", parameters={"entities": entities})
    assert media.receive(told) is None
    assert media.receive(server_message("updated", seq=3)) is None
    assert media.violations == []


def test_there_are_no_marks() -> None:
    with pytest.raises(AssertionError):
        new_media().mark("m")
    assert new_media().cleared(["m"]) == ()
    assert new_media().opening() == ()


def test_nonsense_breaks_nothing() -> None:
    _, stream = opened()
    for message in GARBAGE:
        stream.receive_message(message, 0)
    assert stream.state is StreamState.OPEN
