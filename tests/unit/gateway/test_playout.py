from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio import Encoding, MediaFormat
from trunkline.dispatch.messages import MarkReached, Message, Played
from trunkline.gateway.playout import LONGEST_QUEUE_MS, Playout
from trunkline.gateway.stats import Stats
from trunkline.telephony.media import StreamEvent, StreamState

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)


class Wire:
    """A carrier's protocol core that writes down what it is asked."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    @property
    def state(self) -> StreamState:
        return StreamState.OPEN

    def receive_message(self, data: bytes | memoryview | str, now_ms: int) -> None: ...

    def receive_eof(self) -> None: ...

    def send_audio(self, payload: bytes) -> None:
        self.sent.append(("audio", payload))

    def send_mark(self, name: str) -> None:
        self.sent.append(("mark", name))

    def send_clear(self) -> None:
        self.sent.append(("clear", None))

    def send_dtmf(self, digits: str) -> None: ...

    def send_close(self, reason: str = "") -> None: ...

    def events_received(self) -> Sequence[StreamEvent]:
        return ()

    def messages_to_send(self) -> Sequence[bytes | str]:
        return ()


class Stage:
    def __init__(
        self, *, lead_ms: int = 100, has_marks: bool = True, has_clear: bool = True
    ) -> None:
        self.wire = Wire()
        self.told: list[Message] = []
        self.first: list[tuple[int, int]] = []
        self.stats = Stats()
        self.flushes = 0
        self.playout = Playout(
            core=self.wire,
            flush=self.flush,
            tell=self.told.append,
            sent_format=PCMU,
            lead_ms=lead_ms,
            stats=self.stats,
            on_first_audio=lambda utterance, at: self.first.append((utterance, at)),
            has_marks=has_marks,
            has_clear=has_clear,
        )

    def flush(self) -> None:
        self.flushes += 1

    def audio(self) -> bytes:
        return b"".join(part for _, part in self.wire.sent if isinstance(part, bytes))

    def marks(self) -> list[str]:
        return [str(name) for kind, name in self.wire.sent if kind == "mark"]

    def say(self, ms: int, at_ms: int, *, utterance: int = 1, offset_ms: int = 0) -> None:
        self.playout.push_audio(utterance, offset_ms, bytes(ms * 8), at_ms * 8)


def test_audio_within_the_lead_goes_out_at_once() -> None:
    stage = Stage()
    stage.say(20, 0)
    assert len(stage.audio()) == 160
    assert stage.flushes == 1
    assert stage.first == [(1, 0)]
    assert not stage.playout.has_queue


def test_no_more_than_the_lead_is_ahead() -> None:
    stage = Stage(lead_ms=100)
    stage.say(1000, 0)
    assert len(stage.audio()) == 100 * 8
    stage.playout.pump(40 * 8)
    assert len(stage.audio()) == 140 * 8
    stage.playout.pump(55 * 8)
    assert len(stage.audio()) == 140 * 8, "whole frames only"
    stage.playout.pump(2000 * 8)
    assert len(stage.audio()) == 240 * 8


def test_everything_keeps_its_order() -> None:
    stage = Stage()
    stage.say(150, 0)
    stage.playout.push_mark("middle", 0)
    stage.say(50, 0, utterance=2)
    stage.playout.push_end(2, 0)
    for at_ms in range(0, 400, 20):
        stage.playout.pump(at_ms * 8)
    kinds = [kind for kind, _ in groupby(kind for kind, _ in stage.wire.sent)]
    assert kinds == ["audio", "mark", "audio", "mark"]
    assert [utterance for utterance, _ in stage.first] == [1, 2]


def test_an_echo_tells_the_worker() -> None:
    stage = Stage()
    stage.say(50, 0)
    stage.playout.push_mark("done", 0)
    (name,) = stage.marks()
    stage.playout.echo(name, 55 * 8)
    assert stage.told[-1] == MarkReached(name="done")
    assert stage.playout.is_idle
    stage.playout.echo("g9-9", 60 * 8)
    assert stage.stats.marks_stale == 1


def test_played_is_told_while_it_plays_and_once_at_the_end() -> None:
    stage = Stage(lead_ms=400)
    stage.say(300, 0)
    stage.playout.push_end(1, 0)
    (name,) = stage.marks()
    stage.playout.tick(100 * 8)
    stage.playout.tick(200 * 8)
    stage.playout.echo(name, 300 * 8)
    stage.playout.tick(400 * 8)
    stage.playout.tick(2000 * 8)
    assert stage.told == [
        Played(utterance=1, played_ms=100),
        Played(utterance=1, played_ms=200),
        Played(utterance=1, played_ms=300, done=True),
    ]


def test_clear_drops_the_queue_and_tells_what_was_heard() -> None:
    stage = Stage(lead_ms=100)
    stage.say(1000, 0)
    stage.playout.push_mark("late", 0)
    stage.playout.tick(60 * 8)
    stage.told.clear()
    sent = len(stage.audio())
    stage.playout.clear(60 * 8)
    assert stage.wire.sent[-1] == ("clear", None)
    assert stage.told == [
        Played(utterance=1, played_ms=60, cleared=True),
        MarkReached(name="late", cleared=True),
    ]
    stage.playout.pump(5000 * 8)
    assert len(stage.audio()) == sent
    assert stage.stats.cleared_bytes_out == 8000 - sent
    assert stage.stats.clears == 1


def test_without_a_clear_at_the_carrier_only_the_queue_is_dropped() -> None:
    stage = Stage(lead_ms=100, has_clear=False)
    stage.say(1000, 0)
    stage.playout.push_mark("late", 0)
    stage.playout.clear(10 * 8)
    assert ("clear", None) not in stage.wire.sent
    assert stage.told == [MarkReached(name="late", cleared=True)]
    assert stage.playout.ledger.has_unplayed


def test_without_marks_nothing_waits_for_an_echo() -> None:
    stage = Stage(has_marks=False)
    stage.playout.probe(0)
    stage.say(50, 0)
    stage.playout.push_mark("m", 0)
    stage.playout.tick(60 * 8)
    assert stage.marks() == []
    assert MarkReached(name="m") in stage.told
    assert stage.playout.is_idle


def test_long_speech_is_marked_every_second() -> None:
    stage = Stage(lead_ms=400)
    for at_ms in range(0, 3500, 20):
        stage.say(20, at_ms, offset_ms=at_ms)
    assert len(stage.marks()) == 3


def test_the_queue_is_bounded() -> None:
    stage = Stage(lead_ms=100)
    minute = bytes(60_000 * 8)
    for _ in range(10):
        stage.playout.push_audio(1, 0, minute, 0)
    assert stage.playout.queued_ms <= LONGEST_QUEUE_MS
    total = stage.stats.bytes_out + stage.stats.dropped_bytes_out
    assert total + stage.playout.queued_ms * 8 == 10 * len(minute)
    assert stage.stats.dropped_bytes_out == 5 * len(minute)


def test_a_closed_playout_takes_nothing_but_finishes_what_it_has() -> None:
    stage = Stage(lead_ms=100)
    stage.say(200, 0)
    stage.playout.is_closed = True
    stage.say(200, 0)
    assert stage.stats.dropped_bytes_out == 1600
    assert stage.playout.left_ms(0) == 200
    stage.playout.pump(150 * 8)
    assert len(stage.audio()) == 200 * 8


def test_at_the_streams_end_the_worker_is_told_the_rest() -> None:
    stage = Stage(lead_ms=100)
    stage.say(300, 0)
    stage.playout.push_mark("never", 0)
    stage.playout.stop(50 * 8)
    assert stage.told == [
        Played(utterance=1, played_ms=50, cleared=True),
        MarkReached(name="never", cleared=True),
    ]
    assert ("clear", None) not in stage.wire.sent


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 300)), max_size=30))
def test_no_byte_is_lost_or_doubled(chunks: list[tuple[int, int]]) -> None:
    stage = Stage(lead_ms=120)
    at_ms, expected = 0, b""
    for index, (n_bytes, waited_ms) in enumerate(chunks):
        part = bytes([index]) * n_bytes
        expected += part
        at_ms += waited_ms
        stage.playout.push_audio(1, 0, part, at_ms * 8)
        assert stage.playout.ledger.ahead(at_ms * 8) <= 120 * 8
    for _ in range(2000):
        if not stage.playout.has_queue:
            break
        at_ms += 20
        stage.playout.pump(at_ms * 8)
    assert stage.audio() == expected
