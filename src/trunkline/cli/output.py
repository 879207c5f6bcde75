"""How commands show things: tables and lines for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import cast

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["JsonOption", "plain", "show_fields", "show_json", "show_table"]

_PIPED_COLUMNS = 500

JsonOption = typer.Option("--json", help="Print JSON, for a program.")


def plain(value: object) -> object:
    """Return dataclasses, enums and paths as what JSON has; fields of bytes are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        found = ((name, cast("object", getattr(value, name))) for name in names)
        return {name: plain(each) for name, each in found if not isinstance(each, bytes)}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(name): plain(each) for name, each in items}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(each) for each in cast("Sequence[object]", value)]
    return value


def _console() -> Console:
    """Return a console as wide as the terminal; wide enough for anything where there is none."""
    is_piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_PIPED_COLUMNS if is_piped else None, highlight=False)


def show_json(value: object) -> None:
    """Print ``value`` as JSON on standard output."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; None is shown as nothing."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")  # never shortened: ids are there to be copied
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    _console().print(table)


def show_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        table.add_row(name, "" if shown is None else str(shown))
    _console().print(table)
