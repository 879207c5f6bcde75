"""What a caller may say: a small grammar in JSGF, written out or made from a list of phrases.

pocketsphinx takes much in silence (a rule that is used but not defined, for one) and explains the
rest on stderr only, so the text is checked here first. Reference: JSpeech Grammar Format, W3C
Note, 2000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.errors import ConfigError

__all__ = ["Grammar"]

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_TAG = re.compile(r"\{[^}]*\}")
_HEADER = re.compile(r"\s*#JSGF\s+V1\.0[^;\n]*;")
_RULE = re.compile(r"\s*(?P<public>public\s+)?<(?P<name>[^<>\s]+)>\s*=(?P<expansion>.*)", re.DOTALL)
_REFERENCE = re.compile(r"<([^<>]*)>")
_WEIGHT = re.compile(r"/[^/]*/")
_WORD = re.compile(r"[^\s|()\[\]*+=;<>\"]+")
_BUILT_IN = frozenset({"NULL", "VOID"})
_PHRASE_WORD = re.compile(r"[a-z][a-z'.-]*")
_EDGE_PUNCTUATION = ".,;:!?\"'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A grammar that holds together. Make it with ``from_phrases`` or ``from_jsgf``."""

    jsgf: str
    """The text, with its header."""
    words: frozenset[str]
    """Every word in it."""

    @classmethod
    def from_phrases(cls, phrases: Iterable[str]) -> Grammar:
        """Allow each of ``phrases``, said whole and alone. Case and punctuation do not count.

        Raises:
            ConfigError: No phrase, an empty one, or one with more than words in it (digits are not
                words).
        """
        alternatives: list[str] = []
        for phrase in phrases:
            words = [part.strip(_EDGE_PUNCTUATION) for part in phrase.lower().split()]
            bad = [word for word in words if not _PHRASE_WORD.fullmatch(word)]
            if bad or not words:
                raise ConfigError(
                    f"phrase {phrase!r} must be words only, spelled out", field="phrases"
                )
            alternatives.append(" ".join(words))
        if not alternatives:
            raise ConfigError("there is no phrase to recognise", field="phrases")
        rule = " | ".join(alternatives)
        jsgf = f"#JSGF V1.0;\ngrammar phrases;\npublic <phrase> = {rule};\n"
        return cls(jsgf=jsgf, words=frozenset(" ".join(alternatives).split()))

    @classmethod
    def from_jsgf(cls, jsgf: str) -> Grammar:
        """Take a grammar as it is written.

        Raises:
            ConfigError: No header, no public rule, two of them, or a rule that is used and not
                defined.
        """
        plain = _TAG.sub(" ", _COMMENT.sub(" ", jsgf))
        header = _HEADER.match(plain)
        if header is None:
            raise _refused("it must begin with #JSGF V1.0;")
        rules = [
            match
            for statement in plain[header.end() :].split(";")
            if (match := _RULE.fullmatch(statement))
        ]
        public = [match["name"] for match in rules if match["public"]]
        if len(public) != 1:
            # pocketsphinx would take the first that it finds in a hash table.
            raise _refused(f"it must have one public rule and has {len(public)}")
        defined = _BUILT_IN | {match["name"] for match in rules}
        expansions = " ".join(match["expansion"] for match in rules)
        undefined = set(_REFERENCE.findall(expansions)) - defined
        if undefined:
            raise _refused(f"these rules are not defined: {', '.join(sorted(undefined))}")
        words = _WORD.findall(_WEIGHT.sub(" ", _REFERENCE.sub(" ", expansions)))
        return cls(jsgf=jsgf, words=frozenset(words))


def _refused(reason: str) -> ConfigError:
    return ConfigError(f"the grammar cannot be used: {reason}", field="grammar")
