from __future__ import annotations

import pytest

from trunkline.bots.offline.grammar import Grammar
from trunkline.errors import ConfigError

HEADER = "#JSGF V1.0;\ngrammar g;\n"


def test_phrases_become_one_rule() -> None:
    grammar = Grammar.from_phrases(["Yes, please!", "no"])
    assert "= yes please | no;" in grammar.jsgf
    assert grammar.words == {"yes", "please", "no"}


@pytest.mark.parametrize(
    "phrases", [[], [""], ["press 1"], ["a | b"], ["a; <x> = b"], ["caf\u00e9"]]
)
def test_phrases_are_words_only(phrases: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Grammar.from_phrases(phrases)
    assert caught.value.field == "phrases"


def test_words_of_a_grammar_leave_out_all_that_is_syntax() -> None:
    grammar = Grammar.from_jsgf(
        HEADER
        + "// a remark about nothing\n/* and\nmore */\n"
        + "public <a> = [please] ( /2/ <b> | /0.5/ stop {tag; with = signs} )+ <NULL>;\n"
        + '<b> = "go" away*;'
    )
    assert grammar.words == {"please", "stop", "go", "away"}


@pytest.mark.parametrize(
    ("jsgf", "reason"),
    [
        ("public <a> = yes;", "#JSGF"),
        (HEADER + "<a> = yes;", "has 0"),
        (HEADER + "public <a> = yes; public <b> = no;", "has 2"),
        (HEADER + "public <a> = yes | <no> | <maybe>;", "maybe, no"),
    ],
    ids=["no header", "nothing public", "two public", "undefined"],
)
def test_a_grammar_must_hold_together(jsgf: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        Grammar.from_jsgf(jsgf)
    assert caught.value.field == "grammar"
