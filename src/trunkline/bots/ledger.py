"""What the bot has said and what of it the caller has heard. Pure: times come in with the messages.

The bot's audio runs ahead of the caller's ear: a service speaks faster than real time, the gateway
paces. So the ledger keeps, for each utterance, how much was sent and how much the gateway says was
played, and which words stand where. Out comes the text that was heard, also when the bot was
interrupted in the middle of a sentence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from trunkline.dispatch.messages import Played

__all__ = ["Cut", "Gate", "SpeechLedger", "Turn"]

_MS_PER_CHARACTER = 65
"""Length of speech by its text, where the audio does not tell: about 15 characters a second."""
_SHORTEST_MS_PER_CHARACTER = 20
"""Nobody speaks faster: the text came before its audio, and its end has to be estimated."""


@dataclass(frozen=True, slots=True, order=True)
class Gate:
    """A point in the bot's speech: ``ms`` into ``utterance``, of which the first is 1."""

    utterance: int
    ms: int


@dataclass(slots=True, kw_only=True)
class _Segment:
    """A sentence, or a word where the service gives times of words."""

    text: str
    start_ms: int
    end_ms: int | None = None
    """None: not known yet."""

    def estimated_end_ms(self) -> int:
        """Where its speech ends."""
        if (
            self.end_ms is not None
            and self.end_ms - self.start_ms >= len(self.text) * _SHORTEST_MS_PER_CHARACTER
        ):
            return self.end_ms
        return self.start_ms + len(self.text) * _MS_PER_CHARACTER

    def heard_part(self, played_ms: int) -> str:
        """The words that were played: by their share of the time, whole words only."""
        end_ms = self.estimated_end_ms()
        if played_ms >= end_ms:
            return self.text
        if played_ms <= self.start_ms:
            return ""
        words = self.text.split()
        share = (played_ms - self.start_ms) / (end_ms - self.start_ms)
        return " ".join(words[: int(share * len(words))])


@dataclass(slots=True, kw_only=True)
class _Word(_Segment):
    """One word at its time: heard once it has begun."""

    def estimated_end_ms(self) -> int:
        return self.start_ms + 1


@dataclass(slots=True, kw_only=True)
class _Utterance:
    number: int
    context_id: str | None
    interruptible: bool = True
    sent_ms: int = 0
    played_ms: int = 0
    ended: bool = False
    done: bool = False
    """Played to its end."""
    settled: bool = False
    """Done, or cleared: nothing more will be heard of it."""
    segments: list[_Segment] = field(default_factory=list["_Segment"])

    @property
    def text(self) -> str:
        return " ".join(segment.text.strip() for segment in self.segments)

    @property
    def heard(self) -> str:
        if self.done:
            return self.text
        parts = (segment.heard_part(self.played_ms).strip() for segment in self.segments)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A bot's turn that is over."""

    text: str
    """What it said or was about to say."""
    heard_text: str
    utterances: list[int]
    interrupted: bool


def _turn(utterances: list[_Utterance], *, interrupted: bool) -> Turn | None:
    text = " ".join(utterance.text for utterance in utterances if utterance.text)
    if not text:
        return None
    heard = " ".join(utterance.heard for utterance in utterances if utterance.heard)
    return Turn(
        text=text,
        heard_text=heard if interrupted else text,
        utterances=[utterance.number for utterance in utterances],
        interrupted=interrupted,
    )


class Cut:
    """A turn that was interrupted, while the gateway has yet to say how much of it was heard."""

    def __init__(self, utterances: list[_Utterance]) -> None:
        self._utterances = utterances

    @property
    def is_settled(self) -> bool:
        """Whether nothing more will be heard of it."""
        return all(utterance.settled for utterance in self._utterances)

    def settle(self, cleared: int | None = None) -> None:
        """Nothing more will be heard of it: the gateway has reported the clear, or is not going to.

        Args:
            cleared: The utterance that the clear has cut. Earlier ones had been played to their end
                and later ones had not begun, whether reports of them come or not.
        """
        for utterance in self._utterances:
            if cleared is not None and utterance.number < cleared and not utterance.settled:
                utterance.played_ms = utterance.sent_ms
                utterance.done = utterance.ended
            utterance.settled = True

    def turn(self) -> Turn | None:
        """The turn as heard; None if nothing was to be said."""
        return _turn(self._utterances, interrupted=True)


class SpeechLedger:
    """The bot's utterances of one call, in order."""

    def __init__(self) -> None:
        self._utterances: dict[int, _Utterance] = {}
        self._last = 0
        self._turn: list[_Utterance] = []
        self._finished: deque[list[_Utterance]] = deque()

    # what the bot says

    def begin(self, context_id: str | None, *, interruptible: bool = True) -> int:
        """A new utterance starts; returns its number. The one before it must have been ended."""
        self._last += 1
        utterance = _Utterance(
            number=self._last, context_id=context_id, interruptible=interruptible
        )
        self._utterances[self._last] = utterance
        self._turn.append(utterance)
        return self._last

    @property
    def current(self) -> int | None:
        """The utterance that is being sent, None between utterances."""
        last = self._utterances.get(self._last)
        return self._last if last is not None and not last.ended and not last.settled else None

    @property
    def context_id(self) -> str | None:
        """The speech service's id of the last utterance."""
        last = self._utterances.get(self._last)
        return None if last is None else last.context_id

    def audio(self, duration_ms: int) -> int:
        """So much more of the utterance was sent; returns where it starts in it, in ms."""
        utterance = self._utterances[self._last]
        offset_ms = utterance.sent_ms
        utterance.sent_ms += duration_ms
        return offset_ms

    def announce(self, text: str) -> None:
        """The next audio of the current utterance speaks ``text``."""
        utterance = self._utterances[self._last]
        start_ms = utterance.sent_ms
        if utterance.segments and utterance.segments[-1].end_ms is not None:
            start_ms = max(start_ms, utterance.segments[-1].estimated_end_ms())
        utterance.segments.append(_Segment(text=text, start_ms=start_ms))

    def spoken(self, text: str) -> tuple[int, Gate]:
        """A sentence's audio was sent; returns its start in ms, and the gate at its end."""
        utterance = self._utterances[self._last]
        segment = next((found for found in utterance.segments if found.end_ms is None), None)
        if segment is None:
            segment = _Segment(text=text, start_ms=0)
            utterance.segments.append(segment)
        segment.text = text
        segment.end_ms = utterance.sent_ms
        return segment.start_ms, Gate(utterance.number, segment.estimated_end_ms())

    def word(self, text: str, at_ms: int) -> Gate:
        """A word stands at ``at_ms``. Words take the place of announced sentences."""
        utterance = self._utterances[self._last]
        utterance.segments = [
            segment for segment in utterance.segments if isinstance(segment, _Word)
        ]
        utterance.segments.append(_Word(text=text, start_ms=max(0, at_ms)))
        return Gate(utterance.number, max(0, at_ms) + 1)

    def end(self) -> int | None:
        """No more audio for the current utterance; returns its number, None if there is none."""
        number = self.current
        if number is not None:
            self._utterances[number].ended = True
        return number

    @property
    def position(self) -> Gate:
        """Where the next audio would stand: what comes now is released when this has been heard."""
        last = self._utterances.get(self._last)
        return Gate(0, 0) if last is None else Gate(last.number, last.sent_ms)

    # what the caller hears

    def played(self, report: Played) -> None:
        """Take in the gateway's report. Reports of utterances that are not known are ignored."""
        utterance = self._utterances.get(report.utterance)
        if utterance is None:
            return
        utterance.played_ms = max(utterance.played_ms, min(report.played_ms, utterance.sent_ms))
        if report.done:
            utterance.played_ms = utterance.sent_ms
            utterance.done = True
        if report.done or report.cleared:
            utterance.settled = True
        self._forget()

    def _forget(self) -> None:
        """Drop settled utterances of turns that were taken; the last is kept for ``position``."""
        turns = [self._turn, *self._finished]
        kept = {utterance.number for turn in turns for utterance in turn} | {self._last}
        self._utterances = {
            number: utterance
            for number, utterance in self._utterances.items()
            if not utterance.settled or number in kept
        }

    def is_open(self, gate: Gate) -> bool:
        """Whether the caller has heard everything before ``gate``."""
        for utterance in self._utterances.values():
            if utterance.settled or utterance.number > gate.utterance:
                continue
            if utterance.number < gate.utterance or utterance.played_ms < gate.ms:
                return False
        return True

    @property
    def outstanding(self) -> list[int]:
        """Utterances of which something may yet be heard."""
        return [number for number, utterance in self._utterances.items() if not utterance.settled]

    @property
    def ahead_ms(self) -> int:
        """Audio that was sent and has not been played, in ms."""
        return sum(
            utterance.sent_ms - utterance.played_ms
            for utterance in self._utterances.values()
            if not utterance.settled
        )

    @property
    def awaits_report(self) -> bool:
        """Whether a report must come: audio is queued, or an utterance has just ended."""
        return any(
            utterance.ended or utterance.sent_ms > utterance.played_ms
            for utterance in self._utterances.values()
            if not utterance.settled
        )

    @property
    def is_interruptible(self) -> bool:
        """Whether all that may yet be heard may be cleared."""
        return all(
            utterance.interruptible
            for utterance in self._utterances.values()
            if not utterance.settled
        )

    def settle(self) -> None:
        """Nothing that is outstanding will be heard any more."""
        for utterance in self._utterances.values():
            utterance.settled = True

    # turns

    def finish_turn(self) -> None:
        """The bot's turn ends with the speech sent so far; ``take_turn`` gives it once heard."""
        self._finished.append(self._turn)
        self._turn = []

    def take_turn(self) -> Turn | None:
        """The oldest finished turn, heard to its end; None if nothing was said in it."""
        utterances = self._finished.popleft() if self._finished else []
        self._forget()
        return _turn(utterances, interrupted=False)

    def cut(self) -> Cut:
        """The bot was interrupted: what was not taken yet is one turn."""
        utterances = [utterance for turn in (*self._finished, self._turn) for utterance in turn]
        self._finished.clear()
        self._turn = []
        return Cut(utterances)
