"""Checks of single values, the same on every store: the twin refuses what a database would.

Pure functions. What comes from outside and cannot be stored is ``InvalidRequest``; what only our
own code can get wrong is ``ValueError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from trunkline.errors import InvalidRequest

__all__ = ["check_text", "check_time", "copy_json", "dump_json"]


def check_text(value: str) -> str:
    """Return ``value`` if every database can hold it.

    Raises:
        InvalidRequest: it has a NUL, which PostgreSQL refuses, or half of a surrogate pair, which
            has no UTF-8.
    """
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("text is not valid Unicode") from None
    if b"\0" in encoded:
        raise InvalidRequest("text must not contain NUL")
    return value


def check_time(value: datetime) -> datetime:
    """Return ``value`` in UTC.

    Raises:
        ValueError: it has no time zone, so nobody could say which moment it is.
    """
    if value.tzinfo is None:
        raise ValueError("times in the store need a time zone")
    return value.astimezone(UTC)


def copy_json(value: object) -> object:
    """Return ``value`` as a database would give it back: nothing shared, tuples made lists."""
    return json.loads(dump_json(value))


def dump_json(value: object) -> str:
    """Return JSON text; any mapping is an object, not only ``dict``.

    Raises:
        TypeError: ``value`` is not JSON.
        ValueError: it has NaN or an infinity, which JSON and PostgreSQL do not have.
    """
    return json.dumps(value, default=_mapping_to_dict, allow_nan=False)


def _mapping_to_dict(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"{type(value).__name__} is not JSON")
