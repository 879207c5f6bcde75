from __future__ import annotations

import pytest

from trunkline.bots.presented import NAMES, find_dialect
from trunkline.errors import ConfigError


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_its_dialect(name: str) -> None:
    assert find_dialect(name, None).name == name
    assert find_dialect("whoever", name).name == name


def test_first_stands_in_for_carriers_that_cannot_be_shown() -> None:
    assert find_dialect("whoever", None).name == NAMES[0]


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        find_dialect("twilio", "pigeon")
    assert caught.value.field == "present_as"
