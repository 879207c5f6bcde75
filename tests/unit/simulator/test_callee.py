from __future__ import annotations

from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.faults import Faults


def test_anybody_answers_at_once_and_says_nothing() -> None:
    anybody = Callee()
    assert (anybody.outcome, anybody.answered_by) == (Outcome.ANSWER, "human")
    assert anybody.new_caller is None
    assert anybody.faults == Faults()
    assert 0 < anybody.ring_s < 1


def test_outcomes_are_the_carriers_final_words() -> None:
    assert {Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED} == {"busy", "no-answer", "failed"}
