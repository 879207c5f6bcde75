from __future__ import annotations

from trunkline.dispatch.messages import TranscriptLine
from trunkline.gateway.marks import MarkLedger, SpokenPiece
from trunkline.gateway.turns import TurnLog


class Log:
    def __init__(self) -> None:
        self.written: list[dict[str, object]] = []
        self.ledger = MarkLedger(8000, 1)
        self.turns = TurnLog(self.ledger, 8, self.written.append)

    def speak(self, number: int, ms: int, at_ms: int, *, is_complete: bool = True) -> None:
        self.ledger.place(number, 0, bytes(ms * 8), at_ms * 8)
        self.ledger.utterance(number).is_complete = is_complete

    def play(self, at_ms: int) -> None:
        self.ledger.advance(at_ms * 8)
        for utterance in self.ledger.active():
            self.ledger.finish(utterance)
        self.turns.settle(at_ms)


def caller(text: str) -> TranscriptLine:
    return TranscriptLine(speaker="caller", text=text)


def bot(text: str, *utterances: int, **fields: object) -> TranscriptLine:
    return TranscriptLine(speaker="bot", text=text, utterances=list(utterances), **fields)


def test_a_callers_turn_has_the_detectors_times() -> None:
    log = Log()
    log.turns.speech_started(1000)
    log.turns.speech_stopped(1800)
    log.turns.speech_started(2000)
    log.turns.speech_stopped(2600)
    log.turns.line(caller("one two"), 3000)
    assert log.written == [
        {
            "speaker": "caller",
            "text": "one two",
            "started_ms": 1000,
            "ended_ms": 2600,
            "interrupted": False,
        }
    ]


def test_speech_that_goes_on_belongs_to_the_next_turn() -> None:
    log = Log()
    log.turns.speech_started(1000)
    log.turns.speech_stopped(1800)
    log.turns.speech_started(2500)
    log.turns.line(caller("first"), 2600)
    log.turns.speech_stopped(3000)
    log.turns.line(caller("second"), 3100)
    times = [(turn["started_ms"], turn["ended_ms"]) for turn in log.written]
    assert times == [(1000, 1800), (2500, 3000)]


def test_a_turn_that_nobody_heard_begin_has_the_time_of_its_report() -> None:
    log = Log()
    log.turns.line(caller("typed"), 500)
    assert (log.written[0]["started_ms"], log.written[0]["ended_ms"]) == (500, 500)


def test_a_bots_turn_is_written_when_it_has_been_heard() -> None:
    log = Log()
    log.speak(1, 400, at_ms=100)
    log.speak(2, 300, at_ms=100)
    log.turns.line(bot("all of it", 1, 2), 150)
    log.play(700)
    assert log.written == []
    log.play(900)
    assert log.written == [
        {
            "speaker": "bot",
            "text": "all of it",
            "started_ms": 100,
            "ended_ms": 800,
            "interrupted": False,
            "heard_text": "all of it",
        }
    ]
    assert log.ledger.find(1) is None, "what is written is forgotten"


def test_latency_is_from_the_end_of_speech_to_the_first_audio() -> None:
    log = Log()
    log.turns.speech_started(1000)
    log.turns.speech_stopped(2000)
    log.turns.first_audio(1, 2450)
    log.turns.first_audio(2, 2900)
    log.speak(1, 100, at_ms=2450)
    log.speak(2, 100, at_ms=2900)
    log.turns.line(bot("a", 1), 2500)
    log.turns.line(bot("b", 2), 2950)
    log.play(4000)
    assert [turn.get("latency_ms") for turn in log.written] == [450, None]


def test_speaking_on_begins_the_wait_anew() -> None:
    log = Log()
    log.turns.speech_started(0)
    log.turns.speech_stopped(1000)
    log.turns.speech_started(1500)
    log.turns.first_audio(1, 1600)  # he speaks: this is no answer
    log.turns.speech_stopped(2000)
    log.turns.first_audio(2, 2300)
    log.speak(1, 50, at_ms=1600)
    log.speak(2, 50, at_ms=2300)
    log.turns.line(bot("a", 1), 1700)
    log.turns.line(bot("b", 2), 2400)
    log.play(3000)
    assert [turn.get("latency_ms") for turn in log.written] == [None, 300]


def test_a_greeting_has_no_latency() -> None:
    log = Log()
    log.turns.first_audio(1, 100)
    log.speak(1, 100, at_ms=100)
    log.turns.line(bot("hello", 1), 150)
    log.play(1000)
    assert "latency_ms" not in log.written[0]


def test_an_interrupted_turn_says_what_was_heard() -> None:
    log = Log()
    log.speak(1, 1000, at_ms=0)
    log.ledger.utterance(1).pieces.append(SpokenPiece(0, "one two"))
    log.ledger.utterance(1).pieces.append(SpokenPiece(500, "three four"))
    log.ledger.clear(600 * 8)
    log.turns.line(bot("one two three four", 1), 700)
    (turn,) = log.written
    assert turn["interrupted"] is True
    assert turn["heard_text"] == "one two"
    assert (turn["started_ms"], turn["ended_ms"]) == (0, 600)


def test_without_times_for_its_words_they_are_shared_out() -> None:
    log = Log()
    log.speak(1, 1000, at_ms=0)
    log.ledger.clear(500 * 8)
    log.turns.line(bot("aa bb cc dd", 1), 700)
    assert log.written[0]["heard_text"] == "aa bb"


def test_what_the_worker_says_was_heard_stands() -> None:
    log = Log()
    log.speak(1, 1000, at_ms=0)
    log.ledger.clear(500 * 8)
    log.turns.line(bot("aa bb", 1, heard_text="aa", interrupted=True), 700)
    assert log.written[0]["heard_text"] == "aa"


def test_at_the_end_everything_is_written() -> None:
    log = Log()
    log.speak(1, 1000, at_ms=0, is_complete=False)
    log.turns.line(bot("a b", 1), 100)
    log.turns.settle(200)
    assert log.written == []
    log.turns.settle(300, at_end=True)
    assert log.written[0]["text"] == "a b"


def test_turns_of_utterances_that_are_unknown_are_written_at_once() -> None:
    log = Log()
    log.turns.line(bot("silent", 99), 100)
    assert log.written[0]["started_ms"] == 100
