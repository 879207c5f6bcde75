"""Variables in prompts and greetings: ``{{from_number}}``, and the keys of the call's body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from trunkline.dispatch.messages import CallStarted

__all__ = ["call_variables", "fill"]

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][\w.\-]*)\s*\}\}")


def call_variables(call: CallStarted) -> dict[str, str]:
    """What a prompt may name: the call's facts, and each text, number or boolean of its body.

    A key within an object of the body is named with a dot: ``{{customer.name}}``. The call's own
    facts win over keys of the same name, because the body may come from whoever started the call.
    """
    facts = call.facts
    found = dict(_flatten(facts.body))
    found.update(
        {
            "agent_name": facts.agent.name,
            "call_id": facts.call_id,
            "direction": facts.direction,
            "from_number": facts.from_number,
            "to_number": facts.to_number,
        }
    )
    return found


def _flatten(body: object, prefix: str = "") -> list[tuple[str, str]]:
    """Names and texts of an object's entries; of anything else, none."""
    if not isinstance(body, dict):
        return []
    pairs: list[tuple[str, str]] = []
    for key, value in cast("dict[object, object]", body).items():
        name = f"{prefix}{key}"
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int | float):
            pairs.append((name, str(value)))
        else:
            pairs += _flatten(value, f"{name}.")
    return pairs


def fill(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with its variables filled in; unknown ones become empty: no caller hears braces."""
    return _VARIABLE.sub(lambda match: variables.get(match[1], ""), text)
