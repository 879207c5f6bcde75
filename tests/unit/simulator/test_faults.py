from __future__ import annotations

from trunkline.simulator.faults import Fault, Faults


def test_only_what_was_asked_for_goes_wrong() -> None:
    faults = Faults(wanted=frozenset({Fault.NO_STOP}))

    assert [fault for fault in Fault if faults.has(fault)] == [Fault.NO_STOP]


def test_by_default_nothing_goes_wrong() -> None:
    assert not any(Faults().has(fault) for fault in Fault)
