from __future__ import annotations

import dataclasses

from trunkline.simulator.caller import Caller
from trunkline.simulator.contract import Ring, Setup


def test_a_ring_goes_well_unless_faults_are_asked_for() -> None:
    ring = Ring(webhook_url="https://voice.example.test/inbound", caller=Caller([]))

    assert ring.faults.wanted == frozenset()
    assert ring.markup is None
    assert ring.from_number != ring.to_number


def test_a_setup_by_default_makes_everything_up_and_goes_where_urls_say() -> None:
    assert set(dataclasses.asdict(Setup()).values()) == {None, 0}
