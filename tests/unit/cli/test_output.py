from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from trunkline.cli.output import plain, show_fields, show_json, show_table


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Thing:
    colour: Colour
    path: Path
    parts: tuple[int, ...]
    audio: bytes


def test_records_become_what_json_has_and_bytes_stay_out() -> None:
    thing = Thing(Colour.RED, Path("a/b"), (1, 2), b"RIFF")

    assert plain({"things": [thing]}) == {
        "things": [{"colour": "red", "path": "a/b", "parts": [1, 2]}]
    }


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"text": "Zoë", "none": None})

    assert json.loads(capsys.readouterr().out) == {"text": "Zoë", "none": None}


def test_a_table_has_its_columns_and_cells(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name", "age"), [("Ada", 36), ("Bob", None)])
    header, first, second = capsys.readouterr().out.splitlines()

    assert header.split() == ["name", "age"]
    assert first.split() == ["Ada", "36"]
    assert second.split() == ["Bob"]


def test_fields_show_what_is_nested_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields({"pipeline": {"llm": "x"}, "note": None})

    assert '{"llm": "x"}' in capsys.readouterr().out


def test_an_id_is_never_shortened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    call_id = "973dc9e1-0000-4000-8000-000000000001"
    show_table(("id", *"abcdefgh"), [(call_id, *(letter * 30 for letter in "abcdefgh"))])
    show_fields({"id": call_id, "text": "x" * 300})

    assert capsys.readouterr().out.count(call_id) == 2
