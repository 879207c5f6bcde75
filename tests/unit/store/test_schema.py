from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from trunkline.errors import ConfigError, StoreError, StoreUnavailable
from trunkline.store.engine import create_migration_engine, parse_database_url
from trunkline.store.models import METADATA
from trunkline.store.schema import MIGRATIONS, check_current, upgrade

GOOD = """
revision = "0002"
down_revision = "0001"
branch_labels = depends_on = None

def upgrade():
    from alembic import op
    import sqlalchemy as sa
    with op.batch_alter_table("calls") as batch:
        batch.add_column(sa.Column("colour", sa.Text()))
        batch.drop_constraint("uq_calls_idempotency_key", type_="unique")
"""
BAD = """
revision = "0003"
down_revision = "0002"
branch_labels = depends_on = None

def upgrade():
    from alembic import op
    import sqlalchemy as sa
    op.create_table("half_done", sa.Column("id", sa.Integer()))
    op.execute("INSERT INTO settings (name, value) VALUES ('half', 'done')")
    op.drop_table("no_such_table")
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def more_migrations(tmp_path: Path) -> Path:
    """Return a copy of our migrations with two more revisions, of which the second fails."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for source in (MIGRATIONS / "env.py", *sorted((MIGRATIONS / "versions").glob("*.py"))):
        (folder / source.relative_to(MIGRATIONS)).write_text(source.read_text())
    (folder / "versions" / "0002_good.py").write_text(GOOD)
    (folder / "versions" / "0003_bad.py").write_text(BAD)
    return folder


async def inspected(url: str, look: str) -> object:
    """What the database answers, over a connection of its own."""
    engine = create_migration_engine(parse_database_url(url))
    try:
        async with engine.connect() as connection:
            match look:
                case "tables":
                    return set(await connection.run_sync(lambda it: inspect(it).get_table_names()))
                case "difference":
                    return await connection.run_sync(difference)
                case _:
                    return (await connection.scalars(text(look))).all()
    finally:
        await engine.dispose()


def difference(connection: Connection) -> object:
    return compare_metadata(MigrationContext.configure(connection), METADATA)


async def check(url: str) -> None:
    engine = create_migration_engine(parse_database_url(url))
    try:
        await check_current(engine)
    finally:
        await engine.dispose()


async def test_migrated_from_empty_is_what_the_models_say(empty_url: str) -> None:
    with pytest.raises(ConfigError, match=r"is at nothing .* python -m trunkline\.store\.migrate"):
        await check(empty_url)

    await upgrade(parse_database_url(empty_url))

    assert await inspected(empty_url, "difference") == []
    assert set(METADATA.tables) < await inspected(empty_url, "tables")  # type: ignore[operator]
    await check(empty_url)


async def test_a_second_upgrade_does_nothing(empty_url: str) -> None:
    await upgrade(parse_database_url(empty_url))
    await upgrade(parse_database_url(empty_url))

    assert await inspected(empty_url, "SELECT version_num FROM alembic_version") == ["0001"]


async def test_upgrades_at_once_wait_for_each_other(empty_url: str) -> None:
    url = parse_database_url(empty_url)

    async with asyncio.timeout(30):
        await asyncio.gather(*(upgrade(url) for _ in range(4)))

    assert await inspected(empty_url, "difference") == []


async def test_a_failing_migration_leaves_nothing(empty_url: str, more_migrations: Path) -> None:
    """The revision before it stays: each is a transaction of its own."""
    with pytest.raises(StoreError):
        await upgrade(parse_database_url(empty_url), migrations=more_migrations)

    assert await inspected(empty_url, "SELECT version_num FROM alembic_version") == ["0002"]
    tables = await inspected(empty_url, "tables")
    assert isinstance(tables, set)
    assert "half_done" not in tables
    assert not {table for table in tables if table.startswith("_alembic")}
    assert await inspected(empty_url, "SELECT name FROM settings") == []


async def test_changing_a_table_keeps_its_rows_and_those_that_refer_to_it(
    empty_url: str, more_migrations: Path
) -> None:
    (more_migrations / "versions" / "0003_bad.py").unlink()
    url = parse_database_url(empty_url)
    await upgrade(url)
    engine = create_migration_engine(url)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO calls (id, carrier, account_id, direction, agent_name, from_number, "
                "to_number, state, created_at, stats, hangup_pending, raw) VALUES ('c', 'acme', "
                "'AC1', 'inbound', 'a', '+1', '+2', 'ringing', '2026-01-01 00:00:00', '{}', "
                "false, '{}')"
            )
        )
        await connection.execute(text("INSERT INTO slots (call_id, scope) VALUES ('c', 'machine')"))
    await engine.dispose()

    await upgrade(url, migrations=more_migrations)

    assert await inspected(empty_url, "SELECT id FROM calls WHERE colour IS NULL") == ["c"]
    assert await inspected(empty_url, "SELECT scope FROM slots") == ["machine"]


async def test_a_newer_database_is_not_touched(empty_url: str, more_migrations: Path) -> None:
    (more_migrations / "versions" / "0003_bad.py").unlink()
    url = parse_database_url(empty_url)
    await upgrade(url, migrations=more_migrations)

    with pytest.raises(ConfigError, match="newer version"):
        await upgrade(url)
    with pytest.raises(ConfigError, match="is at 0002 and this version needs 0001"):
        await check(empty_url)


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    url = f"postgresql://u@/d?host={tmp_path}"

    with pytest.raises(StoreUnavailable):
        await upgrade(parse_database_url(url))
    with pytest.raises(StoreUnavailable):
        await check(url)


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_checking_a_current_database_writes_nothing(migrated_sqlite: str) -> None:
    path = migrated_sqlite.removeprefix("sqlite+aiosqlite:///")
    before = content(path)

    await check(migrated_sqlite)

    assert content(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_migrations_are_beside_the_module_that_runs_them() -> None:
    """So that the wheel, which takes the whole package, has them."""
    assert (MIGRATIONS / "env.py").is_file()
    assert (MIGRATIONS / "script.py.mako").is_file()
    assert sorted(path.name for path in (MIGRATIONS / "versions").glob("*.py"))
