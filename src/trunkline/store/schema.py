"""Brings a database to this version's schema, and tells whether it is there.

``migrate.py`` is the process that does it; the front only checks when it opens the store.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trunkline.errors import ConfigError

from .engine import create_migration_engine, translated_errors
from .locks import lock_key

__all__ = ["MIGRATIONS", "check_current", "upgrade"]

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S = 60.0
"""How long a migration waits for one that another process runs, in seconds."""
LOCK_RETRY_S = 0.1


def _config(migrations: Path) -> Config:
    config = Config()
    # A percent sign is ConfigParser's interpolation, which an installation's path may contain.
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _revisions_in(connection: Connection) -> set[str]:
    return set(MigrationContext.configure(connection).get_current_heads())


async def check_current(engine: AsyncEngine, *, migrations: Path = MIGRATIONS) -> None:
    """Return if the database has this version's schema.

    Raises:
        ConfigError: it has not; the text says what to run.
        StoreUnavailable: the database is away.
    """
    wanted = set(ScriptDirectory.from_config(_config(migrations)).get_heads())
    with translated_errors():
        async with engine.connect() as connection:
            found = await connection.run_sync(_revisions_in)
    if found != wanted:
        raise ConfigError(
            f"the database schema is at {_name(found)} and this version needs {_name(wanted)}: "
            "run python -m trunkline.store.migrate (or a matching version of Trunkline)"
        )


def _name(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "nothing"


async def upgrade(url: URL, *, migrations: Path = MIGRATIONS) -> None:
    """Upgrade to the newest revision, each in a transaction: it is there entirely or not at all.

    Two at once are safe: the second waits, then finds nothing to do.

    Raises:
        ConfigError: the database was made by a newer version.
        StoreUnavailable: the database is away, or another migration takes too long.
    """
    engine = create_migration_engine(url)
    try:
        with translated_errors():
            async with _file_lock(url), engine.connect() as connection, _server_lock(connection):
                await connection.run_sync(_upgrade, migrations)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, migrations: Path) -> None:
    config = _config(migrations)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigError(
            f"the database was made by a newer version of Trunkline ({error})"
        ) from error


@asynccontextmanager
async def _file_lock(url: URL) -> AsyncGenerator[None]:
    """SQLite: one migration at a time, by a lock on a file beside it; the kernel frees it."""
    if url.get_backend_name() != "sqlite":
        yield
        return
    descriptor = os.open(f"{url.database}.migrate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(LOCK_TIMEOUT_S):
            while not _try_lock(descriptor):  # noqa: ASYNC110 - held by another process
                await asyncio.sleep(LOCK_RETRY_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def _server_lock(connection: AsyncConnection) -> AsyncGenerator[None]:
    """PostgreSQL: one migration at a time, by a lock that ends with the session."""
    if connection.dialect.name != "postgresql":
        yield
        return
    await connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_S * 1000:.0f}"))
    await connection.execute(select(func.pg_advisory_lock(lock_key("migrate"))))
    await connection.commit()  # Alembic begins its own transactions
    yield  # the lock ends with the connection, which is closed and not pooled
