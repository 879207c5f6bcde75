from __future__ import annotations

import importlib.util

import pytest

from trunkline import carriers, simulator
from trunkline.errors import UnknownCarrier, UnsupportedByCarrier

PLAYED = [
    name for name in carriers.NAMES if importlib.util.find_spec(f"trunkline.simulator.{name}")
]


@pytest.mark.parametrize("name", PLAYED)
def test_every_carrier_that_can_be_played_answers_to_its_own_name(name: str) -> None:
    assert simulator.get(name).name == name


@pytest.mark.parametrize("name", sorted(set(carriers.NAMES) - set(PLAYED)))
def test_a_carrier_without_a_simulator_is_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedByCarrier):
        simulator.get(name)


def test_an_unknown_carrier_is_refused() -> None:
    with pytest.raises(UnknownCarrier):
        simulator.get("carrier-pigeon")
