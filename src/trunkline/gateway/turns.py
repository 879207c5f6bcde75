"""Turns for the record: who spoke when, what was heard, how long the caller waited.

The worker knows the words, the gateway the times: caller speech from the detector, bot speech from
the mark ledger. Latency is taken at the wire, from the end of the caller's speech (the detector's
decision less the silence it waited for) to the first bot audio sent, so it is the same figure for
any bot. Pure: all times are milliseconds on the stream's media clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.dispatch.messages import TranscriptLine
from trunkline.gateway.marks import MarkLedger, SpokenPiece, Utterance, split_text

__all__ = ["TurnLog"]

_LONGEST_HISTORY = 200  # speech segments without a transcript, and latencies without a turn


@dataclass(slots=True)
class _Speech:
    started_ms: int
    ended_ms: int | None = None


class TurnLog:
    """Builds the ``turn`` entries of one stream.

    A bot's turn is written when the last of its utterances is over, so that its times and what was
    heard of it are final.

    Args:
        ledger: Of the sent audio.
        samples_per_ms: Of the ledger's positions.
        write: Gets the data of each ``turn`` entry.
    """

    def __init__(
        self, ledger: MarkLedger, samples_per_ms: int, write: Callable[[dict[str, object]], None]
    ) -> None:
        self._ledger = ledger
        self._per_ms = samples_per_ms
        self._write = write
        self._speeches: deque[_Speech] = deque(maxlen=_LONGEST_HISTORY)
        self._waiting: deque[TranscriptLine] = deque()
        self._latencies: dict[int, int] = {}
        self._speech_ended_ms: int | None = None

    # caller

    def speech_started(self, started_ms: int) -> None:
        """The caller began to speak at ``started_ms`` (the onset, not the decision)."""
        self._speeches.append(_Speech(max(0, started_ms)))
        self._speech_ended_ms = None

    def speech_stopped(self, ended_ms: int) -> None:
        """The caller's speech ended at ``ended_ms``."""
        if self._speeches:
            self._speeches[-1].ended_ms = max(self._speeches[-1].started_ms, ended_ms)
        self._speech_ended_ms = ended_ms

    # bot

    def first_audio(self, utterance: int, at_ms: int) -> None:
        """An utterance's first audio went out."""
        if self._speech_ended_ms is None:
            return
        if len(self._latencies) >= _LONGEST_HISTORY:
            del self._latencies[next(iter(self._latencies))]
        self._latencies[utterance] = max(0, at_ms - self._speech_ended_ms)
        self._speech_ended_ms = None

    # transcript

    def line(self, line: TranscriptLine, now_ms: int) -> None:
        """The worker reports a finished turn."""
        if line.speaker == "caller":
            self._write(self._caller_turn(line, now_ms))
        else:
            self._waiting.append(line)
            self.settle(now_ms)

    def settle(self, now_ms: int, *, at_end: bool = False) -> None:
        """Write bot turns whose utterances are over; at the stream's end all of them."""
        while self._waiting:
            line = self._waiting[0]
            utterances = [
                found
                for number in line.utterances
                if (found := self._ledger.find(number)) is not None
            ]
            if not at_end and not all(utterance.is_over for utterance in utterances):
                return
            self._waiting.popleft()
            self._write(self._bot_turn(line, utterances, now_ms))
            for utterance in utterances:
                self._ledger.forget(utterance.number)

    def _caller_turn(self, line: TranscriptLine, now_ms: int) -> dict[str, object]:
        started_ms: int | None = None
        ended_ms: int | None = None
        while self._speeches:
            speech = self._speeches[0]
            if speech.ended_ms is None and started_ms is not None:
                break  # he has begun to speak again: that belongs to the next turn
            if started_ms is None:
                started_ms = speech.started_ms
            if speech.ended_ms is None:
                break
            ended_ms = speech.ended_ms
            self._speeches.popleft()
        return {
            "speaker": "caller",
            "text": line.text,
            "started_ms": now_ms if started_ms is None else started_ms,
            "ended_ms": now_ms if ended_ms is None else ended_ms,
            "interrupted": line.interrupted,
        }

    def _bot_turn(
        self, line: TranscriptLine, utterances: list[Utterance], now_ms: int
    ) -> dict[str, object]:
        heard = [utterance for utterance in utterances if utterance.started_at is not None]
        starts = [utterance.started_at for utterance in heard if utterance.started_at is not None]
        ends = [utterance.ended_at for utterance in heard if utterance.ended_at is not None]
        data: dict[str, object] = {
            "speaker": line.speaker,
            "text": line.text,
            "started_ms": min(starts) // self._per_ms if starts else now_ms,
            "ended_ms": max(ends) // self._per_ms if ends else now_ms,
            "interrupted": line.interrupted
            or any(utterance.was_cleared for utterance in utterances),
            "heard_text": self._heard_text(line, utterances),
        }
        latencies = [
            self._latencies.pop(number) for number in line.utterances if number in self._latencies
        ]
        if latencies:
            data["latency_ms"] = latencies[0]
        return data

    def _heard_text(self, line: TranscriptLine, utterances: list[Utterance]) -> str:
        if line.heard_text is not None:
            return line.heard_text
        if any(utterance.pieces for utterance in utterances):
            return " ".join(text for utterance in utterances if (text := utterance.heard_text()))
        was_cut = any(
            utterance.played_ms < utterance.sent_ms or utterance.was_cleared
            for utterance in utterances
        )
        if not was_cut:
            return line.text
        sent_ms = sum(utterance.sent_ms for utterance in utterances)
        played_ms = sum(utterance.played_ms for utterance in utterances)
        return split_text([SpokenPiece(0, line.text)], sent_ms, played_ms)[0]
