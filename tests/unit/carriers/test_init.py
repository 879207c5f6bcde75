from __future__ import annotations

import pytest

from trunkline import carriers
from trunkline.errors import UnknownCarrier


@pytest.mark.parametrize("name", carriers.NAMES)
def test_every_name_has_its_record(name: str) -> None:
    carrier = carriers.get(name)
    assert carrier.name == name
    assert carrier.display_name
    assert carriers.get(name) is carrier


def test_names_are_told_once() -> None:
    assert len(set(carriers.NAMES)) == len(carriers.NAMES)


@pytest.mark.parametrize("name", ["", "Twilio", "twilio.wire", "..", "os", "nobody"])
def test_another_name_is_unknown_and_imports_nothing(name: str) -> None:
    with pytest.raises(UnknownCarrier) as caught:
        carriers.get(name)
    assert caught.value.name == name
