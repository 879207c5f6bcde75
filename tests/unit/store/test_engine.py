from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL, exc, select, text

from tests.support.waiting import eventually
from trunkline.errors import (
    ConfigError,
    Conflict,
    InvalidRequest,
    StoreError,
    StoreUnavailable,
    TrunklineError,
    UnknownAgent,
)
from trunkline.store.engine import (
    Database,
    create_migration_engine,
    open_database,
    parse_database_url,
    translated_errors,
)
from trunkline.store.models import SettingRow


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    opened = open_database(parse_database_url(sql_url), busy_timeout_s=0.2)
    yield opened
    await opened.close()


def file_of(url: URL) -> Path:
    assert url.database is not None
    return Path(url.database)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("sqlite:////x/a.db", "sqlite+aiosqlite:////x/a.db"),
        ("sqlite+aiosqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql+asyncpg:///d?host=/run/pg", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
    ],
)
def test_urls(given: str, parsed: str) -> None:
    assert parse_database_url(given).render_as_string(hide_password=False) == parsed


@pytest.mark.parametrize(
    "given",
    [
        "",
        "no url, secret",
        "mysql://u:secret@h/d",
        "postgresql+psycopg://u:secret@h/d",
        "sqlite+aiosqlite://",
        "sqlite:///:memory:",
        "postgresql://u:secret@h:port/d",
    ],
)
def test_urls_that_cannot_be_used_are_not_repeated(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_url(given)
    assert caught.value.field == "DATABASE_URL"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (exc.IntegrityError("s", None, Exception()), Conflict),
        (exc.DataError("s", None, Exception()), InvalidRequest),
        (exc.OperationalError("s", None, Exception()), StoreUnavailable),
        (exc.InterfaceError("s", None, Exception()), StoreUnavailable),
        (exc.InternalError("s", None, Exception()), StoreUnavailable),
        (exc.TimeoutError("pool"), StoreUnavailable),
        (exc.ProgrammingError("s", None, Exception()), StoreError),
        (exc.DBAPIError("s", None, Exception()), StoreError),
        (exc.DBAPIError("s", None, Exception(), connection_invalidated=True), StoreUnavailable),
        (exc.InvalidRequestError("s"), StoreError),
        (ConnectionRefusedError(), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (asyncpg.CannotConnectNowError("starting up"), StoreUnavailable),
        (asyncpg.InterfaceError("closed"), StoreUnavailable),
        (OverflowError(), InvalidRequest),
        (UnknownAgent("a"), UnknownAgent),
        (ValueError("a bug"), ValueError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_errors_become_ours(raised: Exception, expected: type[Exception]) -> None:
    def fail() -> None:
        with translated_errors():
            raise raised

    with pytest.raises(expected) as caught:
        fail()
    assert type(caught.value) is expected
    if isinstance(caught.value, TrunklineError) and caught.value is not raised:
        assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("57014", StoreUnavailable),
        ("57P01", StoreUnavailable),
        ("40P01", StoreUnavailable),
        ("40001", StoreUnavailable),
        ("55P03", StoreUnavailable),
        ("53300", StoreUnavailable),
        ("08006", StoreUnavailable),
        ("54000", InvalidRequest),
        ("22003", InvalidRequest),
        ("42501", StoreError),
    ],
)
def test_what_postgresql_says_by_code(sqlstate: str, expected: type[Exception]) -> None:
    class Coded(Exception):
        pass

    original = Coded()
    original.sqlstate = sqlstate  # type: ignore[attr-defined]  # as asyncpg's errors have it

    def fail() -> None:
        with translated_errors():
            raise exc.DBAPIError("s", None, original)

    with pytest.raises(expected) as caught:
        fail()
    assert type(caught.value) is expected


async def test_what_was_written_is_there_unless_the_block_raised(database: Database) -> None:
    async with database.write() as session:
        session.add(SettingRow(name="kept", value="x"))

    async def fail() -> None:
        async with database.write() as session:
            session.add(SettingRow(name="lost", value="x"))
            await session.flush()
            raise UnknownAgent("a")

    with pytest.raises(UnknownAgent):
        await fail()

    async with database.read() as session:
        assert (await session.scalars(select(SettingRow.name))).all() == ["kept"]


async def test_a_reader_cannot_write(database: Database) -> None:
    async def write() -> None:
        async with database.read() as session:
            session.add(SettingRow(name="a", value="x"))
            await session.flush()

    with pytest.raises(StoreError):
        await write()


async def test_readers_do_not_wait_for_the_writer(database: Database) -> None:
    async with asyncio.timeout(5), database.write() as writing:
        writing.add(SettingRow(name="a", value="x"))
        await writing.flush()
        async with database.read() as reading:
            assert (await reading.scalars(select(SettingRow.name))).all() == []


async def test_a_missing_table_is_an_error_but_not_absence(database: Database) -> None:
    with pytest.raises(StoreError) as caught:
        async with database.read() as session:
            await session.execute(text("SELECT * FROM nowhere"))
    assert type(caught.value) is StoreError


async def test_errors_never_quote_values(database: Database) -> None:
    async with database.write() as session:
        session.add(SettingRow(name="taken", value="x"))
    with pytest.raises(Conflict) as caught:
        async with database.write() as session:
            session.add(SettingRow(name="taken", value="hush-hush"))
    assert "hush-hush" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_number_beyond_64_bits_is_refused(database: Database) -> None:
    with pytest.raises(InvalidRequest):
        async with database.write() as session:
            await session.execute(text("SELECT id FROM events WHERE id = :id").bindparams(id=2**70))


async def test_cancelled_transactions_leave_nothing_and_nothing_locked(database: Database) -> None:
    in_transaction = asyncio.Event()

    async def write() -> None:
        async with database.write() as session:
            session.add(SettingRow(name="a", value="x"))
            await session.flush()
            in_transaction.set()
            await asyncio.Event().wait()

    for _ in range(5):
        in_transaction.clear()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            task = group.create_task(write())
            await in_transaction.wait()
            task.cancel()

    async with asyncio.timeout(5), database.write() as session:
        assert (await session.scalars(select(SettingRow.name))).all() == []


async def test_sqlite_is_set_up_to_keep_what_it_was_told(migrated_sqlite: str) -> None:
    database = open_database(parse_database_url(migrated_sqlite))
    async with database.write() as session:
        found = {
            name: await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    async with database.read() as session:
        assert await session.scalar(text("PRAGMA query_only")) == 1
    await database.close()

    # synchronous 2 is FULL; busy_timeout is in milliseconds.
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


async def test_sqlite_locked_by_another_program_is_unavailable(migrated_sqlite: str) -> None:
    url = parse_database_url(migrated_sqlite)
    database = open_database(url, busy_timeout_s=0.1)
    with closing(sqlite3.connect(file_of(url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            async with database.write() as session:
                session.add(SettingRow(name="a", value="x"))
        async with database.read() as session:
            await session.execute(select(SettingRow))
        other.execute("ROLLBACK")

    async with database.write() as session:
        session.add(SettingRow(name="a", value="x"))
    await database.close()


async def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "noise.db"
    path.write_bytes(b"noise" * 1000)
    database = open_database(parse_database_url(f"sqlite:///{path}"))

    with pytest.raises(StoreError):
        async with database.write() as session:
            await session.execute(select(1))
    await database.close()
    assert path.read_bytes() == b"noise" * 1000


async def test_no_postgresql_at_that_address_is_unavailable(tmp_path: Path) -> None:
    database = open_database(parse_database_url(f"postgresql://u@/d?host={tmp_path}"))

    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            async with database.read() as session:
                await session.execute(select(1))
    await database.close()


async def test_a_server_that_accepts_and_says_nothing_is_unavailable() -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = open_database(
        parse_database_url(f"postgresql://u@127.0.0.1:{port}/d?ssl=disable"),
        connect_timeout_s=0.2,
    )

    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            async with database.read() as session:
                await session.execute(select(1))

    assert connections
    await database.close()
    for writer in connections:
        writer.close()
    server.close()


async def test_postgresql_gives_up_on_a_slow_statement(migrated_postgres: str) -> None:
    database = open_database(parse_database_url(migrated_postgres))

    async def sleep() -> None:
        async with database.write() as session:
            await session.execute(text("SET LOCAL statement_timeout = 50"))
            await session.execute(text("SELECT pg_sleep(60)"))

    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailable):
            await sleep()
    await database.close()


async def test_a_connection_that_the_server_ended_is_replaced(migrated_postgres: str) -> None:
    database = open_database(parse_database_url(migrated_postgres))
    async with database.write() as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
    other = await asyncpg.connect(migrated_postgres.replace("+asyncpg", ""))
    await other.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await other.close()

    async with database.write() as session:
        assert await session.scalar(text("SELECT pg_backend_pid()")) != pid
    await database.close()


async def test_the_migration_s_engine_has_no_foreign_keys_on_sqlite(migrated_sqlite: str) -> None:
    engine = create_migration_engine(parse_database_url(migrated_sqlite))
    async with engine.connect() as connection:
        assert await connection.scalar(text("PRAGMA foreign_keys")) == 0
    await engine.dispose()


async def test_a_closed_database_holds_no_thread(migrated_sqlite: str) -> None:
    import threading

    before = set(threading.enumerate())
    database = open_database(parse_database_url(migrated_sqlite))
    async with database.write() as writing, database.read() as reading:
        await writing.execute(select(1))
        await reading.execute(select(1))
    threads = [
        thread
        for thread in threading.enumerate()
        if thread not in before and "connection_worker" in thread.name
    ]
    assert len(threads) == 2

    await database.close()

    await eventually(
        lambda: not any(thread.is_alive() for thread in threads), what="the threads have ended"
    )
