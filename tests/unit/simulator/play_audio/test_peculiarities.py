from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from trunkline import carriers
from trunkline.simulator.plivo import RULES as PLIVO
from trunkline.simulator.vobiz import RULES as VOBIZ


@pytest.mark.parametrize("rules", [PLIVO, VOBIZ], ids=lambda rules: rules.name)
def test_what_is_played_is_what_the_carriers_record_says(rules: object) -> None:
    assert rules in (PLIVO, VOBIZ)
    features = carriers.get(rules.name).features
    assert rules.has_dtmf_events is not features.dtmf_as_tones
    assert rules.takes_dtmf is features.dtmf_out


def test_they_differ_and_stay_as_they_are() -> None:
    assert PLIVO != VOBIZ
    with pytest.raises(FrozenInstanceError):
        PLIVO.name = "vobiz"
