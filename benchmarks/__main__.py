"""Runs every measurement, prints the table and writes ``build/bench.json``.

``python -m benchmarks gateway_echo`` runs that module's only. The exit status is 1 when a figure is
over its budget.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import benchmarks

Row = dict[str, object]

COLUMNS = ("row", "unit", "ours", "peer", "peer_name", "ratio", "budget", "ok")
RESULT = Path(__file__).resolve().parents[1] / "build" / "bench.json"


def measure(names: list[str]) -> list[Row]:
    """Rows of the named modules, or of all that have ``rows``."""
    found: list[Row] = []
    for module_info in pkgutil.iter_modules(benchmarks.__path__):
        if module_info.name.startswith("_") or (names and module_info.name not in names):
            continue
        module = importlib.import_module(f"benchmarks.{module_info.name}")
        rows = getattr(module, "rows", None)
        if rows is not None:
            found.extend(rows())
    return found


def table(rows: list[Row]) -> str:
    """The rows as text, columns aligned."""
    lines = [COLUMNS, *(tuple(_text(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> int:
    """Measure, print, write."""
    rows = measure(sys.argv[1:])
    print(table(rows))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["ok"] is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
