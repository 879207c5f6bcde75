from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.script import ScriptDirectory

from trunkline.store.schema import MIGRATIONS


def test_it_is_the_first() -> None:
    script = ScriptDirectory(MIGRATIONS)

    assert script.get_bases() == ["0001"]
    assert script.get_revision("0001").doc.startswith("The first tables")


def test_ids_of_events_are_never_given_twice(sqlite_template: Path) -> None:
    """What comparing with the models does not see."""
    with closing(sqlite3.connect(sqlite_template)) as connection:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'events'"
        ).fetchone()

    assert "AUTOINCREMENT" in sql
