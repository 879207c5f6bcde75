"""The demo's conversation, and what must be true of it afterwards. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from trunkline.cli.server import Json, as_object
from trunkline.simulator.caller import (
    InterruptAfter,
    Press,
    Say,
    Step,
    WaitForBotSilence,
    WaitForHangup,
)
from trunkline.simulator.contract import CallReport

__all__ = ["DIGIT", "SENTENCES", "Check", "conversation", "front_desk", "judge"]

SENTENCES = (
    "what are your opening hours",
    "i want to speak to a human",
    "tell me about breakfast",
    "where are you located",
    "thank you goodbye",
)
"""What the caller says, in order; the fourth interrupts the answer to the third."""

DIGIT = "1"

_HOURS, _HUMAN, _BREAKFAST, _ADDRESS, _GOODBYE = SENTENCES
_SILENT_WITHIN_MS = 1500
_TAIL_FRAMES = 5  # on the wire when the bot hung up: 100 ms that nobody waits for


# What the gateway counts when audio did not get through, or not onto the disk.
_LOSSES = ("dropped_bytes_in", "dropped_bytes_out", "gap_ms_in", "recording_gaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that had to be so."""

    name: str
    ok: bool
    found: str


def front_desk() -> dict[str, Json]:
    """Return the agent's definition, as ``POST /api/agents`` takes it."""
    text = files("trunkline.cli").joinpath("front_desk.json").read_text(encoding="utf-8")
    return as_object(cast("Json", json.loads(text)))


def conversation() -> list[Step]:
    """Return what the caller does; the sentences have no audio yet."""
    return [
        WaitForBotSilence(),
        Say(text=_HOURS),
        WaitForBotSilence(),
        Say(text=_HUMAN),
        WaitForBotSilence(),
        Press(digit=DIGIT),
        WaitForBotSilence(),
        Say(text=_BREAKFAST),
        InterruptAfter(speech_ms=2500),
        Say(text=_ADDRESS),
        WaitForBotSilence(),
        Say(text=_GOODBYE),
        WaitForHangup(within_ms=20_000),
    ]


def judge(call: Mapping[str, Json], turns: Sequence[Json], report: CallReport) -> list[Check]:
    """Compare the record with what the caller did.

    Args:
        call: The call's record, from the API.
        turns: Its transcript.
        report: The call from the carrier's side.
    """
    rows = [as_object(turn) for turn in turns]
    return [
        _completed(call),
        _recognised(rows),
        _digit_taken(rows),
        _interrupted(rows, report),
        _complete_audio(as_object(call.get("stats")), report),
        _by_the_rules(report),
    ]


def _completed(call: Mapping[str, Json]) -> Check:
    fields = ("state", "end_reason", "ended_by")
    found = [str(call.get(field)) for field in fields]
    return Check(
        name="the bot said goodbye and hung up",
        ok=found == ["completed", "completed", "bot"],
        found=", ".join(f"{field} {value}" for field, value in zip(fields, found, strict=True)),
    )


def _recognised(rows: Sequence[Mapping[str, Json]]) -> Check:
    heard = [
        _normal(row.get("text"))
        for row in rows
        if row.get("kind") == "turn" and row.get("speaker") == "caller"
    ]
    spoken = [text for text in heard if not text.startswith("[dtmf")]
    understood = sum(sentence in spoken for sentence in SENTENCES)
    return Check(
        name="every turn was recognised",
        ok=spoken == list(SENTENCES),
        found=f"{understood} of {len(SENTENCES)}"
        + ("" if spoken == list(SENTENCES) else f": {spoken}"),
    )


def _digit_taken(rows: Sequence[Mapping[str, Json]]) -> Check:
    digits = [str(row.get("text")) for row in rows if row.get("kind") == "dtmf"]
    return Check(name="the key was taken", ok=digits == [DIGIT], found=", ".join(digits) or "none")


def _interrupted(rows: Sequence[Mapping[str, Json]], report: CallReport) -> Check:
    recorded = [row for row in rows if row.get("speaker") == "bot" and row.get("interrupted")]
    turn = next((turn for turn in report.turns if turn.text == _ADDRESS), None)
    silent_after_ms = None if turn is None else turn.bot_silent_after_ms
    ok = (
        report.counts.clears >= 1
        and report.counts.cleared_bytes > 0
        and bool(recorded)
        and silent_after_ms is not None
        and silent_after_ms <= _SILENT_WITHIN_MS
    )
    found = (
        "the bot was not heard to stop"
        if silent_after_ms is None
        else f"silent after {silent_after_ms} ms"
    )
    return Check(name="the interruption stopped the bot", ok=ok, found=found)


def _complete_audio(stats: Mapping[str, Json], report: CallReport) -> Check:
    """Compare frame by frame: what was sent with what came, in both directions."""
    sent_frames = sum(stream.sent_frames for stream in report.streams)
    discarded = sum(stream.discarded_frames for stream in report.streams)
    came_frames = _number(stats.get("frames_in"))
    sent_bytes, came_bytes = _number(stats.get("bytes_out")), report.counts.received_bytes
    dropped = sum(_number(stats.get(name)) for name in _LOSSES)
    ok = (
        0 <= sent_frames - came_frames <= _TAIL_FRAMES
        and discarded == 0
        and sent_bytes == came_bytes
        and dropped == 0
        and report.counts.gaps == 0
    )
    found = (
        f"caller {came_frames} of {sent_frames} frames, bot {came_bytes} of {sent_bytes} bytes, "
        f"{report.counts.gaps} gaps"
    )
    return Check(name="no frame was lost", ok=ok, found=found)


def _by_the_rules(report: CallReport) -> Check:
    problems = [f"{each.code} {each.detail}" for each in report.violations] + list(report.missed)
    return Check(
        name="the carrier has no complaint", ok=not problems, found="; ".join(problems) or "none"
    )


def _normal(text: Json) -> str:
    words = "".join(letter for letter in str(text).lower() if letter not in ".,!?")
    return words.removeprefix("please ").strip()


def _number(value: Json) -> int:
    return int(value) if isinstance(value, int | float) else 0
