from __future__ import annotations

from trunkline.bots.ledger import Gate, SpeechLedger, Turn
from trunkline.dispatch.messages import Played


def speaking(*sentences: tuple[str, int]) -> SpeechLedger:
    """A ledger with one utterance of sentences of that many milliseconds, all sent."""
    ledger = SpeechLedger()
    ledger.begin("context")
    for text, duration_ms in sentences:
        ledger.announce(text)
        ledger.audio(duration_ms)
        ledger.spoken(text)
    return ledger


def heard(ledger: SpeechLedger, played_ms: int) -> str:
    ledger.played(Played(utterance=1, played_ms=played_ms, cleared=True))
    turn = ledger.cut().turn()
    assert turn is not None
    return turn.heard_text


def test_words_are_heard_by_their_share_of_the_sentence() -> None:
    sentences = (("one two three four", 1_000), ("five six", 500))
    assert heard(speaking(*sentences), 0) == ""
    assert heard(speaking(*sentences), 249) == ""
    assert heard(speaking(*sentences), 500) == "one two"
    assert heard(speaking(*sentences), 1_000) == "one two three four"
    assert heard(speaking(*sentences), 1_300) == "one two three four five"
    assert heard(speaking(*sentences), 1_500) == "one two three four five six"


def test_sentence_whose_audio_is_still_coming_is_estimated() -> None:
    ledger = SpeechLedger()
    ledger.begin("context")
    ledger.announce("one two three four")
    ledger.audio(600)
    assert heard(ledger, 600) == "one two"


def test_text_that_came_before_its_audio_is_estimated() -> None:
    ledger = SpeechLedger()
    ledger.begin("context")
    ledger.audio(20)
    ledger.announce("one two three four")
    _, gate = ledger.spoken("one two three four")
    assert gate.ms > 1_000
    ledger.audio(1_180)
    assert heard(ledger, 620) == "one two"


def test_words_with_times_are_heard_once_they_have_begun() -> None:
    ledger = SpeechLedger()
    ledger.begin("context")
    ledger.announce("one two three")
    ledger.audio(1_000)
    for text, at_ms in (("one", 0), ("two", 400), ("three", 800)):
        ledger.word(text, at_ms)
    assert heard(ledger, 500) == "one two"


def test_gate_opens_when_everything_before_was_played() -> None:
    ledger = SpeechLedger()
    assert ledger.is_open(ledger.position)
    ledger.begin("a")
    ledger.audio(200)
    first = ledger.position
    ledger.end()
    ledger.begin("b")
    ledger.audio(100)
    second = ledger.position
    assert (first, second) == (Gate(1, 200), Gate(2, 100))
    ledger.played(Played(utterance=1, played_ms=199))
    assert not ledger.is_open(first)
    ledger.played(Played(utterance=1, played_ms=200))
    assert ledger.is_open(first)
    ledger.played(Played(utterance=2, played_ms=100))
    assert not ledger.is_open(second), "the first utterance is not over"
    ledger.played(Played(utterance=1, played_ms=200, done=True))
    assert ledger.is_open(second)


def test_reports_never_go_back_nor_beyond_what_was_sent() -> None:
    ledger = speaking(("one two", 400))
    ledger.played(Played(utterance=1, played_ms=300))
    ledger.played(Played(utterance=1, played_ms=100))
    assert ledger.ahead_ms == 100
    ledger.played(Played(utterance=1, played_ms=9_999))
    assert ledger.ahead_ms == 0
    ledger.played(Played(utterance=77, played_ms=1, done=True))
    assert ledger.outstanding == [1]


def test_turns_are_taken_in_order_though_speech_runs_ahead() -> None:
    ledger = speaking(("first", 400))
    ledger.end()
    ledger.finish_turn()
    ledger.begin("b")
    ledger.announce("second")
    ledger.audio(400)
    ledger.spoken("second")
    assert ledger.take_turn() == Turn(
        text="first", heard_text="first", utterances=[1], interrupted=False
    )
    ledger.finish_turn()
    turn = ledger.take_turn()
    assert turn is not None
    assert turn.utterances == [2]
    assert ledger.take_turn() is None


def test_cut_takes_all_that_was_not_taken() -> None:
    ledger = speaking(("first", 400))
    ledger.end()
    ledger.finish_turn()
    ledger.begin("b")
    ledger.announce("second third")
    ledger.audio(800)
    ledger.spoken("second third")
    cut = ledger.cut()
    assert not cut.is_settled
    cut.settle(cleared=2)
    turn = cut.turn()
    assert turn is not None
    assert (turn.text, turn.heard_text) == ("first second third", "first")
    assert turn.interrupted
    assert ledger.cut().turn() is None


def test_speech_that_may_not_be_interrupted() -> None:
    ledger = SpeechLedger()
    ledger.begin("a", interruptible=False)
    ledger.audio(100)
    assert not ledger.is_interruptible
    ledger.end()
    ledger.played(Played(utterance=1, played_ms=100, done=True))
    assert ledger.is_interruptible


def test_a_report_is_awaited_while_something_can_play() -> None:
    ledger = SpeechLedger()
    assert not ledger.awaits_report
    ledger.begin("a")
    assert not ledger.awaits_report, "the service may think for as long as it likes"
    ledger.audio(100)
    assert ledger.awaits_report
    ledger.played(Played(utterance=1, played_ms=100))
    assert not ledger.awaits_report
    ledger.end()
    assert ledger.awaits_report
    ledger.settle()
    assert not ledger.awaits_report


def test_a_long_call_keeps_little() -> None:
    ledger = SpeechLedger()
    for number in range(1, 200):
        ledger.begin(str(number))
        ledger.audio(100)
        ledger.end()
        ledger.finish_turn()
        ledger.played(Played(utterance=number, played_ms=100, done=True))
        ledger.take_turn()
    assert len(ledger._utterances) <= 2  # noqa: SLF001 - the bound is the point
