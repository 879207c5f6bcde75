"""Checks of single values, the same on every store: the twin refuses what a database would.

Pure functions. What comes from outside and cannot be stored is ``InvalidRequest``; what only our
own code can get wrong is ``ValueError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from trunkline.errors import InvalidRequest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["as_stored", "check_text", "check_time", "copy_json", "dump_json"]

Record = TypeVar("Record", bound="DataclassInstance")
_JSON_FIELDS = {"body", "data", "pipeline", "raw", "stats"}
"""Fields of records that hold any JSON value."""


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


def as_stored(record: Record) -> Record:
    """Return the record as a database would give it back, which spares asking it.

    Raises:
        InvalidRequest: it has text that cannot be stored.
        TypeError: what should be JSON is not.
        ValueError: a time without zone, or a number that JSON does not have.
    """
    values: dict[str, Any] = {}
    for field in fields(record):
        value: object = getattr(record, field.name)
        values[field.name] = _stored_value(field.name, value)
    return replace(record, **values)


def _stored_value(name: str, value: object) -> object:
    if name in _JSON_FIELDS:
        return copy_json(value)
    match value:
        case str():
            check_text(value)
            return value
        case datetime():
            return check_time(value)
        case _:
            return value


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
