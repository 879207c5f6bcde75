from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline.bots.pipeline import validate_pipeline
from trunkline.cli.demo_script import DIGIT, SENTENCES, Check, conversation, front_desk, judge
from trunkline.cli.server import Json, as_object
from trunkline.simulator.caller import InterruptAfter, Press, Say, Turn, WaitForHangup
from trunkline.simulator.contract import CallReport, HungUpBy, StreamReport, Violation
from trunkline.simulator.line import LineCounts

CALL: dict[str, Json] = {
    "state": "completed",
    "end_reason": "completed",
    "ended_by": "bot",
    "stats": {"frames_in": 998, "bytes_out": 5000, "dropped_bytes_out": 0, "gap_ms_in": 0},
}
TURNS: list[Json] = [
    *({"kind": "turn", "speaker": "caller", "text": f"{text.capitalize()}."} for text in SENTENCES),
    {"kind": "dtmf", "speaker": "caller", "text": DIGIT},
    {"kind": "turn", "speaker": "bot", "text": "Breakfast is", "interrupted": True},
]
REPORT = CallReport(
    carrier_call_id="CA1",
    status="completed",
    hung_up_by=HungUpBy.REST,
    duration_ms=30_000,
    counts=LineCounts(
        said_frames=1010,
        received_bytes=5000,
        played_bytes=4000,
        cleared_bytes=1000,
        unplayed_bytes=0,
        gaps=0,
        clears=1,
    ),
    streams=[StreamReport(stream_id="MZ1", url="ws://x", parameters={}, sent_frames=1000)],
    webhooks=[],
    violations=[],
    turns=[
        Turn(text=text, started_ms=0, bot_silent_after_ms=400 if at == 3 else None)
        for at, text in enumerate(SENTENCES)
    ],
    missed=[],
)


def failures(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def test_a_call_that_went_well_passes() -> None:
    assert failures(judge(CALL, TURNS, REPORT)) == []


def stats(**change: Json) -> dict[str, Json]:
    return {**CALL, "stats": {**as_object(CALL["stats"]), **change}}


@pytest.mark.parametrize(
    ("call", "turns", "report", "name"),
    [
        ({**CALL, "state": "in_progress"}, TURNS, REPORT, "the bot said goodbye and hung up"),
        ({**CALL, "end_reason": "socket_lost"}, TURNS, REPORT, "the bot said goodbye and hung up"),
        ({**CALL, "ended_by": "caller"}, TURNS, REPORT, "the bot said goodbye and hung up"),
        (CALL, TURNS[1:], REPORT, "every turn was recognised"),
        (CALL, [*TURNS, TURNS[0]], REPORT, "every turn was recognised"),
        (CALL, TURNS[:5] + TURNS[6:], REPORT, "the key was taken"),
        (CALL, TURNS[:6], REPORT, "the interruption stopped the bot"),
        (CALL, TURNS, replace(REPORT, turns=[]), "the interruption stopped the bot"),
        (stats(frames_in=990), TURNS, REPORT, "no frame was lost"),
        (stats(bytes_out=5160), TURNS, REPORT, "no frame was lost"),
        (stats(gap_ms_in=20), TURNS, REPORT, "no frame was lost"),
        (CALL, TURNS, replace(REPORT, counts=replace(REPORT.counts, gaps=1)), "no frame was lost"),
        (
            CALL,
            TURNS,
            replace(REPORT, violations=[Violation(code="31951", detail="x")]),
            "the carrier has no complaint",
        ),
        (CALL, TURNS, replace(REPORT, missed=["x"]), "the carrier has no complaint"),
    ],
)
def test_each_thing_that_goes_wrong_fails_its_check(
    call: dict[str, Json], turns: list[Json], report: CallReport, name: str
) -> None:
    assert failures(judge(call, turns, report)) == [name]


def test_a_call_without_a_record_fails() -> None:
    assert len(failures(judge({}, [], REPORT))) == 5


def test_the_conversation_is_what_the_demo_promises() -> None:
    steps = conversation()
    said = [step.text for step in steps if isinstance(step, Say)]

    assert said == list(SENTENCES)
    assert len(said) >= 4
    assert sum(isinstance(step, Press) for step in steps) == 1
    at = next(at for at, step in enumerate(steps) if isinstance(step, InterruptAfter))
    assert isinstance(steps[at - 1], Say)
    assert isinstance(steps[at + 1], Say)
    assert isinstance(steps[-1], WaitForHangup)


def test_the_agent_is_one_that_can_be_saved() -> None:
    agent = front_desk()

    assert agent["name"] == "front-desk"
    settings = validate_pipeline(as_object(agent["pipeline"]))
    assert {service.service for service in settings.services().values()} == {"offline"}
