"""docs/glossary.md has every word of the records' closed sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

from trunkline.store import AgentKind, OverflowAction, Role
from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason
from trunkline.telephony.webhook import AmdVerdict

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2] for section in PAGE.split("\n## ")[1:]
}


@pytest.mark.parametrize(
    ("words", "heading"),
    [
        (Direction, "Parties and things"),
        (OverflowAction, "Admission"),
        (AmdVerdict, "Audio"),
        (CallState, "States of a call"),
        (EndedBy, "Who ended a call"),
        (EndReason, "Why a call ended"),
        (AgentKind, "Agents and keys"),
        (Role, "Agents and keys"),
    ],
)
def test_each_word_is_explained(words: type[StrEnum], heading: str) -> None:
    assert [word.value for word in words if f"`{word.value}`" not in SECTIONS[heading]] == []
