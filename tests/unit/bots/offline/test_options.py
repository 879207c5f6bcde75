from __future__ import annotations

from typing import ClassVar

import pytest

from trunkline.bots.offline.options import Options
from trunkline.errors import ConfigError


class Sample(Options):
    service: ClassVar[str] = "sample"

    names: tuple[str, ...]
    speed: int = 1


def test_lists_become_tuples_and_defaults_hold() -> None:
    assert Sample.parse({"names": ["a", "b"]}) == Sample(names=("a", "b"), speed=1)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "sample.names"),
        ({"names": ["a"], "speed": "2"}, "sample.speed"),
        ({"names": ["a", 2]}, "sample.names.1"),
        ({"names": ["a"], "sped": 2}, "sample.sped"),
    ],
    ids=["missing", "text for a number", "inside a list", "misspelt"],
)
def test_the_error_names_the_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sample.parse(values)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
