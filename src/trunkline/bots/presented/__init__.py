"""Carriers' protocols as bots are shown them, whatever carrier the call came by.

One module for each, with ``DIALECT`` in it. To add one, write the module and put its name in
``NAMES``.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from trunkline.bots.presented.dialect import Dialect
from trunkline.errors import ConfigError

__all__ = ["NAMES", "find_dialect"]

NAMES: tuple[str, ...] = ("twilio",)
"""What a bot can be shown. The first stands in for a carrier that bots cannot be shown itself."""


def find_dialect(carrier: str, present_as: str | None) -> Dialect:
    """What a bot is shown of a call by ``carrier``: ``present_as`` if given, else the real thing.

    Raises:
        ConfigError: there is no dialect ``present_as``.
    """
    if present_as is not None and present_as not in NAMES:
        raise ConfigError(
            f"present_as: bots can be shown {', '.join(NAMES)}, not {present_as!r}",
            field="present_as",
        )
    name = present_as or (carrier if carrier in NAMES else NAMES[0])
    return cast("Dialect", import_module(f"{__name__}.{name}").DIALECT)
