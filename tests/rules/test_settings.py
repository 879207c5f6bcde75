"""``.env.example`` lists every variable that is read, and none that is not."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from dotenv import dotenv_values

from trunkline import carriers
from trunkline.settings import Settings

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"


def variables() -> set[str]:
    """Every variable of the settings and of the carriers' accounts."""
    own = {
        str(info.validation_alias or field).upper() for field, info in Settings.model_fields.items()
    }
    for name in carriers.NAMES:
        own |= set(carriers.get(name).account.environment().values())
    return own


def test_the_example_lists_what_is_read() -> None:
    assert sorted(dotenv_values(EXAMPLE)) == sorted(variables())


def test_the_example_sets_nothing() -> None:
    assert {name for name, value in dotenv_values(EXAMPLE).items() if value} == set()


def test_each_variable_has_a_line_that_explains_it() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if re.fullmatch(r"[A-Z_]+=", line):
            assert before.startswith("# "), line
