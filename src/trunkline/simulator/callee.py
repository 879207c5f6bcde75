"""Whoever is called by the server: how the call is taken, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.simulator.caller import Caller
from trunkline.simulator.faults import Faults

__all__ = ["Callee", "Outcome"]


class Outcome:
    """How a callee takes a call: carriers' final words, and ``answer``."""

    ANSWER = "answer"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """Whoever is called by the server."""

    outcome: str = Outcome.ANSWER
    ring_s: float = 0.1
    """Seconds until the outcome."""
    new_caller: Callable[[], Caller] | None = None
    """Makes the human who answers; None: somebody who says nothing until the other end hangs up."""
    answered_by: str = "human"
    """AMD's word, where detection was asked for."""
    detection_s: float = 0.2
    """Seconds until AMD knows."""
    talk_s: float = 1.0
    """For ``<Dial>``: seconds until the other party hangs up."""
    faults: Faults = field(default_factory=Faults)
