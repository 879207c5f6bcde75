from __future__ import annotations

import pytest

from trunkline import carriers, simulator
from trunkline.errors import UnknownCarrier


@pytest.mark.parametrize("name", carriers.NAMES)
def test_every_carrier_that_can_be_played_answers_to_its_own_name(name: str) -> None:
    assert simulator.get(name).name == name


def test_an_unknown_carrier_is_refused() -> None:
    with pytest.raises(UnknownCarrier):
        simulator.get("carrier-pigeon")
