from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trunkline.gateway.marks import MarkLedger, PlayedAudio, SpokenPiece, split_text

RATE_HZ = 8000
MS = 8  # samples


def ledger(**options: bool) -> MarkLedger:
    return MarkLedger(RATE_HZ, 1, **options)


def silence(ms: int) -> bytes:
    return bytes(ms * MS)


def test_audio_plays_from_when_it_was_sent() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 50 * MS)
    assert book.ahead(50 * MS) == 100 * MS
    book.advance(90 * MS)
    assert book.utterance(1).played_ms == 40
    assert book.ahead(90 * MS) == 60 * MS
    book.advance(1000 * MS)
    assert book.utterance(1).played_ms == 100
    assert (book.utterance(1).started_at, book.utterance(1).ended_at) == (50 * MS, 150 * MS)


def test_audio_sent_while_other_audio_plays_follows_it() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 0)
    book.place(2, 0, silence(100), 10 * MS)
    book.advance(120 * MS)
    assert book.utterance(1).played_ms == 100
    assert book.utterance(2).played_ms == 20


def test_the_offset_of_audio_counts_from_its_utterance() -> None:
    book = ledger()
    book.place(1, 500, silence(20), 0)
    book.advance(10 * MS)
    assert book.utterance(1).played_ms == 510
    assert book.utterance(1).sent_ms == 520


def test_a_mark_of_the_worker_is_reached_by_its_echo() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 0)
    name = book.add_mark(0, "here")
    assert book.advance(99 * MS).worker_marks == []
    reached = book.echo(name, 110 * MS)
    assert reached.worker_marks == ["here"]
    assert not reached.is_stale
    assert book.echo(name, 120 * MS).is_stale


def test_an_echo_that_is_due_holds_the_estimate_back() -> None:
    book = ledger()
    book.echo(book.add_mark(0), 0)
    book.place(1, 0, silence(100), 0)
    name = book.add_mark(0)
    book.place(2, 0, silence(100), 0)
    book.advance(190 * MS)
    assert book.utterance(2).played_ms == 0
    book.echo(name, 300 * MS)  # the carrier stood still for 200 ms
    book.advance(340 * MS)
    assert book.utterance(2).played_ms == 40
    assert book.utterance(2).started_at == 300 * MS


def test_an_echo_that_never_comes_is_given_up() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 0)
    book.add_mark(0, "lost")
    book.place(2, 0, silence(100), 0)
    assert book.advance(2000 * MS).worker_marks == []
    assert book.advance(2101 * MS).worker_marks == ["lost"]
    assert book.lost_marks == 1
    assert book.utterance(2).played_ms == 100


def test_the_first_echo_shows_the_length_of_the_way() -> None:
    book = ledger()
    book.echo(book.add_mark(0), 150 * MS)
    assert book.delay == 150 * MS
    book.place(1, 0, silence(100), 200 * MS)
    assert book.ahead(200 * MS) == 100 * MS
    book.advance(400 * MS)
    assert book.utterance(1).started_at == 350 * MS
    assert book.utterance(1).played_ms == 50


def test_small_differences_do_not_tear_the_audio() -> None:
    book = ledger()
    book.echo(book.add_mark(0), 0)
    book.place(1, 0, silence(100), 0)
    name = book.add_mark(0)
    book.place(1, 100, silence(100), 0)
    book.advance(150 * MS)
    book.echo(name, 160 * MS)
    book.advance(500 * MS)
    played, _ = book.take_played()
    assert [audio.start for audio in played] == [0, 100 * MS]


def test_an_early_echo_is_believed_but_moves_nothing() -> None:
    book = ledger()
    book.echo(book.add_mark(0), 0)
    book.place(1, 0, silence(400), 0)
    assert book.echo(book.add_mark(0), 10 * MS).is_stale is False
    assert book.utterance(1).played_ms == 400
    assert book.ahead(10 * MS) == 390 * MS


def test_a_clear_cuts_and_begins_a_generation() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 0)
    book.place(2, 0, silence(100), 0)
    old = book.add_mark(0, "flushed")
    cut = book.clear(30 * MS)
    assert [u.number for u in cut.utterances] == [1, 2]
    assert [u.played_ms for u in cut.utterances] == [30, 0]
    assert cut.worker_marks == ["flushed"]
    assert book.echo(old, 40 * MS).is_stale
    book.advance(5000 * MS)
    assert book.utterance(1).played_ms == 30
    assert book.add_mark(0).startswith("g1-")
    assert not book.has_unplayed


def test_an_utterance_that_was_played_to_its_end_is_not_cut_by_a_later_clear() -> None:
    book = ledger()
    book.place(1, 0, silence(100), 0)
    book.utterance(1).is_complete = True
    book.advance(200 * MS)
    assert book.clear(200 * MS).utterances == []
    assert book.finish(book.utterance(1))
    assert not book.finish(book.utterance(1))


def test_a_clear_takes_effect_when_it_arrives() -> None:
    book = ledger()
    book.echo(book.add_mark(0), 100 * MS)
    book.place(1, 0, silence(500), 100 * MS)  # heard from 200 ms on
    (cut,) = book.clear(250 * MS).utterances
    assert cut.played_ms == 150


def test_played_audio_keeps_its_place_and_is_cut_at_the_clear() -> None:
    book = ledger()
    book.place(1, 0, b"a" * 80, 0)
    book.place(1, 10, b"b" * 80, 0)
    book.advance(12 * MS)
    assert book.take_played() == ([PlayedAudio(0, b"a" * 80)], 80)
    book.clear(15 * MS)
    assert book.take_played()[0] == [PlayedAudio(80, b"b" * 40)]


def test_without_marks_everything_is_estimated() -> None:
    book = ledger(echoes_marks=False)
    book.place(1, 0, silence(100), 0)
    book.add_mark(0, "m")
    assert book.advance(99 * MS).worker_marks == []
    assert book.advance(101 * MS).worker_marks == ["m"]
    assert book.lost_marks == 0


def test_utterances_that_nobody_reports_are_forgotten_in_the_end() -> None:
    book = ledger()
    for number in range(5000):
        book.utterance(number).is_complete = True
        book.place(number, 0, silence(1), number * MS)
        book.advance((number + 2) * MS)
        book.finish(book.utterance(number))
    assert book.find(0) is None
    assert book.find(4999) is not None
    assert book.active() == []


class Playback(RuleBasedStateMachine):
    """A carrier that plays in real time, echoes after a delay of its own, and obeys clears."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ledger()
        self.at = 0
        self.sent: dict[int, int] = {}
        self.played: dict[int, int] = {}
        self.cleared: dict[int, int] = {}
        self.echoes: list[tuple[int, str]] = []
        self.free_at = 0
        self.number = 0
        self.audio_end = 0

    @rule(ms=st.integers(1, 300))
    def speak(self, ms: int) -> None:
        offset_ms = self.sent.get(self.number, 0)
        self.book.place(self.number, offset_ms, silence(ms), self.at)
        self.sent[self.number] = offset_ms + ms
        self.free_at = max(self.free_at, self.at) + ms * MS

    @rule()
    def next_utterance(self) -> None:
        self.book.utterance(self.number).is_complete = True
        self.number += 1

    @rule(late_ms=st.integers(0, 700))
    def mark(self, late_ms: int) -> None:
        due = max(self.free_at, self.at) + late_ms * MS
        self.echoes.append(
            (max([due, *(echo[0] for echo in self.echoes)]), self.book.add_mark(self.at))
        )

    @rule(ms=st.integers(1, 500))
    def wait(self, ms: int) -> None:
        self.at += ms * MS
        while self.echoes and self.echoes[0][0] <= self.at:
            due, name = self.echoes.pop(0)
            self.book.echo(name, due)
        self.book.advance(self.at)
        for utterance in self.book.active():
            self.book.finish(utterance)

    @rule()
    def clear(self) -> None:
        self.free_at = self.at
        self.echoes = [(self.at, name) for _, name in self.echoes]
        for utterance in self.book.clear(self.at).utterances:
            self.cleared[utterance.number] = utterance.played_ms
        self.number += 1

    @invariant()
    def nothing_is_played_that_was_not_sent(self) -> None:
        for number, sent_ms in self.sent.items():
            found = self.book.find(number)
            played_ms = 0 if found is None else found.played_ms
            assert 0 <= played_ms <= sent_ms
            assert played_ms >= self.played.get(number, 0)
            self.played[number] = played_ms

    @invariant()
    def nothing_is_played_after_its_clear(self) -> None:
        for number, played_ms in self.cleared.items():
            found = self.book.find(number)
            assert found is not None
            assert found.played_ms == played_ms

    @invariant()
    def recorded_audio_never_overlaps_and_never_comes_late(self) -> None:
        played, final = self.book.take_played()
        for audio in played:
            assert audio.start >= self.audio_end
            self.audio_end = audio.start + len(audio.payload)
        self.final = max(final, getattr(self, "final", 0))


TestPlayback = Playback.TestCase


@pytest.mark.parametrize(
    ("played_ms", "heard", "unheard"),
    [
        (0, "", "one two three four"),
        (1000, "one two", "three four"),
        (999, "one", "two three four"),
        (1500, "one two", "three four"),
        (1600, "one two three", "four"),
        (2000, "one two three four", ""),
        (9999, "one two three four", ""),
    ],
)
def test_text_is_split_by_what_was_played(played_ms: int, heard: str, unheard: str) -> None:
    pieces = [SpokenPiece(1000, "three four"), SpokenPiece(0, "one two")]
    assert split_text(pieces, 2000, played_ms) == (heard, unheard)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.text("ab ", min_size=1, max_size=12)), max_size=8),
    st.integers(0, 6000),
    st.integers(0, 6000),
)
def test_splitting_loses_no_word(
    pieces: list[tuple[int, str]], total_ms: int, played_ms: int
) -> None:
    spoken = [SpokenPiece(offset, text) for offset, text in pieces]
    heard, unheard = split_text(spoken, total_ms, played_ms)
    ordered = sorted(spoken, key=lambda piece: piece.offset_ms)
    assert (heard.split() + unheard.split()) == [w for piece in ordered for w in piece.text.split()]
