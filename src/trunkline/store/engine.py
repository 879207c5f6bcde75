"""Connections, transactions, and the one place where a database's exceptions become ours.

SQLite has one writer and many readers, so it gets two pools: one connection that opens every
transaction with BEGIN IMMEDIATE, and several that can only read. With the driver's own BEGIN, a
transaction that reads and then writes fails at once with "database is locked" when another one
wrote in between (279 of 300 simultaneous admissions, measured), and ``busy_timeout`` does not help
it. Waiting for the single writing connection is a fair queue, which SQLite's own busy handler is
not; that one only has other processes to wait for (a migration, a command line tool).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import URL, Connection, NullPool, event, exc, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from trunkline.errors import (
    ConfigError,
    Conflict,
    InvalidRequest,
    StoreError,
    StoreUnavailable,
    TrunklineError,
)

from .values import dump_json

__all__ = [
    "Database",
    "create_migration_engine",
    "open_database",
    "parse_database_url",
    "translated_errors",
]

BUSY_TIMEOUT_S = 5.0
"""How long SQLite waits for another process's transaction, in seconds."""
READERS = 8
"""Reading connections of SQLite; each one is a thread."""
POSTGRESQL_CONNECTIONS = 20
CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 8.0
"""PostgreSQL gives up on a statement, also on one that waits for a lock."""
COMMAND_TIMEOUT_S = 10.0
"""We give up on PostgreSQL: later than it does itself, so this means that it cannot be reached."""
TRANSACTION_TIMEOUT_S = 15.0
"""Bound of a whole transaction, the wait for a connection included."""
IDLE_TIMEOUT_S = 20.0
"""PostgreSQL ends a transaction whose owner went silent (a machine that vanished holds locks)."""

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
# PostgreSQL's classes and codes (its documentation, appendix A) that a later try may not meet:
# connection gone, resources, operator, serialisation, deadlock, lock not available, idle too long.
_TRANSIENT_SQLSTATE = re.compile(r"08...|53...|57...|40001|40P01|55P03|25P0[34]")


def parse_database_url(text: str) -> URL:
    """Return the URL with the driver we use; ``postgresql://`` and ``sqlite://`` are taken as well.

    Raises:
        ConfigError: not a URL, another database, or SQLite without a file. The text never quotes
            the URL, which may hold a password.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ConfigError("DATABASE_URL is not a URL", field="DATABASE_URL") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigError(
            "DATABASE_URL must start with postgresql+asyncpg:// or sqlite+aiosqlite:///",
            field="DATABASE_URL",
        )
    url = url.set(drivername=driver)
    if driver.startswith("sqlite"):
        if url.database in (None, "", ":memory:"):
            raise ConfigError("DATABASE_URL must name a file for SQLite", field="DATABASE_URL")
        return url
    if "sslmode" in url.query:  # libpq's name; asyncpg takes the same words as ``ssl``
        url = url.update_query_dict({"ssl": url.query["sslmode"]}).difference_update_query(
            ["sslmode"]
        )
    return url


def _sqlite_engine(
    url: URL, *, begin: str, pragmas: Mapping[str, str], busy_timeout_s: float, pool_size: int
) -> AsyncEngine:
    engine = create_async_engine(
        url,
        # isolation_level None: the driver begins nothing by itself, and DDL is transactional.
        connect_args={"isolation_level": None, "timeout": busy_timeout_s},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=TRANSACTION_TIMEOUT_S,
        hide_parameters=True,
        json_serializer=dump_json,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_pragmas(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for name, value in pragmas.items():
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _sqlite_writer(url: URL, *, busy_timeout_s: float, foreign_keys: bool = True) -> AsyncEngine:
    return _sqlite_engine(
        url,
        begin="BEGIN IMMEDIATE",
        pragmas={
            "journal_mode": "WAL",
            "synchronous": "FULL",  # a call that was admitted is there after a power cut
            "foreign_keys": "ON" if foreign_keys else "OFF",
        },
        busy_timeout_s=busy_timeout_s,
        pool_size=1,
    )


def _sqlite_reader(url: URL, *, busy_timeout_s: float) -> AsyncEngine:
    return _sqlite_engine(
        url,
        begin="BEGIN DEFERRED",
        pragmas={"query_only": "ON"},
        busy_timeout_s=busy_timeout_s,
        pool_size=READERS,
    )


def _postgresql_connect_args(
    connect_timeout_s: float, statement_timeout_s: float, command_timeout_s: float | None
) -> dict[str, object]:
    return {
        "timeout": connect_timeout_s,
        "command_timeout": command_timeout_s,
        "server_settings": {
            "application_name": "trunkline",
            "timezone": "UTC",
            "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S * 1000:.0f}",
        },
    }


def _postgresql_engine(url: URL, *, connect_timeout_s: float) -> AsyncEngine:
    return create_async_engine(
        url,
        connect_args=_postgresql_connect_args(
            connect_timeout_s, STATEMENT_TIMEOUT_S, COMMAND_TIMEOUT_S
        ),
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_timeout=TRANSACTION_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=1800,  # seconds
        # Admission counts after it has its locks, and must see what was committed meanwhile.
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        json_serializer=dump_json,
    )


def create_migration_engine(url: URL, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> AsyncEngine:
    """One connection for Alembic: the same BEGIN events, no limit on how long statements take.

    No foreign keys on SQLite: it changes a table by copying it and dropping the old one, which
    they would forbid or pass on to the rows that refer to it.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_writer(url, busy_timeout_s=busy_timeout_s, foreign_keys=False)
    return create_async_engine(
        url,
        connect_args=_postgresql_connect_args(CONNECT_TIMEOUT_S, 0, None),
        poolclass=NullPool,
        hide_parameters=True,
        json_serializer=dump_json,
    )


def _translate(error: Exception) -> TrunklineError:
    """The table: what a driver raised → what our callers can act on.

    Texts name types only, never stored values.
    """
    name = type(getattr(error, "orig", None) or error).__name__
    match error:
        case exc.IntegrityError():
            return Conflict("what is stored already contradicts the request")
        case exc.DataError():
            return InvalidRequest("a value is too large or of the wrong kind to be stored")
        case exc.OperationalError() if (
            getattr(error.orig, "sqlite_errorname", None) == "SQLITE_ERROR"
        ):
            return StoreError(
                f"the database refused a statement ({name})"
            )  # such as a table that is not there
        case (
            exc.OperationalError() | exc.InterfaceError() | exc.InternalError() | exc.TimeoutError()
        ):
            return StoreUnavailable(f"the database is not available ({name})")
        case exc.DBAPIError():
            sqlstate = str(getattr(error.orig, "sqlstate", None) or "")
            if error.connection_invalidated or _TRANSIENT_SQLSTATE.fullmatch(sqlstate):
                return StoreUnavailable(f"the database is not available ({name})")
            # Data exceptions, and limits such as text that is too long for an index.
            if sqlstate.startswith(("22", "54")):
                return InvalidRequest("a value is too large or of the wrong kind to be stored")
            return StoreError(f"the database refused a statement ({name})")
        case exc.SQLAlchemyError():
            return StoreError(f"the database could not be used ({name})")
        case _:  # TimeoutError, OSError, asyncpg's own errors: nobody answered, or not in time
            return StoreUnavailable(f"the database is not available ({name})")


@contextmanager
def translated_errors() -> Generator[None]:
    """Turn a driver's or SQLAlchemy's exception into one of ours, ``from`` the original.

    Raises:
        StoreUnavailable: the database is away, too slow, locked or full.
        Conflict: a constraint was violated.
        InvalidRequest: a value cannot be stored.
        StoreError: anything else that the database refused, such as a table that is not there.
    """
    try:
        yield
    except OverflowError as error:  # sqlite3's word for an integer beyond 64 bits
        raise InvalidRequest("a number is too large to be stored") from error
    except exc.StatementError as error:
        # Raised by our column types or by json before anything was sent: a refusal or a bug.
        if not isinstance(error, exc.DBAPIError) and isinstance(
            error.orig, TrunklineError | ValueError | TypeError
        ):
            raise error.orig from None
        if isinstance(error.orig, OverflowError):
            raise InvalidRequest("a number is too large to be stored") from error
        raise _translate(error) from error
    except (exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise _translate(error) from error  # TimeoutError is an OSError


@dataclass(frozen=True, slots=True)
class Database:
    """The pools of one database. ``writer`` and ``reader`` are the same pool on PostgreSQL."""

    url: URL
    writer: AsyncEngine
    reader: AsyncEngine

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncSession]:
        """One transaction that may write: committed at the end, rolled back when the block raises.

        Raises:
            StoreError: or one of the others that ``translated_errors`` names.
        """
        async with self._transaction(self.writer) as session:
            yield session

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncSession]:
        """One transaction that cannot write. Raises as ``write`` does."""
        async with self._transaction(self.reader) as session:
            yield session

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncGenerator[AsyncSession]:
        with translated_errors():
            async with (
                asyncio.timeout(TRANSACTION_TIMEOUT_S),
                AsyncSession(engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    async def close(self) -> None:
        """Close every connection. The pools could be used again, but nobody should."""
        await self.writer.dispose()
        if self.url.get_backend_name() == "sqlite":
            await self.reader.dispose()


def open_database(
    url: URL,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> Database:
    """Make the pools; nothing is connected before the first transaction.

    Args:
        url: from ``parse_database_url``.
        busy_timeout_s: how long SQLite waits for another process, in seconds.
        connect_timeout_s: how long a new connection to PostgreSQL may take, in seconds.
    """
    if url.get_backend_name() == "sqlite":
        return Database(
            url,
            _sqlite_writer(url, busy_timeout_s=busy_timeout_s),
            _sqlite_reader(url, busy_timeout_s=busy_timeout_s),
        )
    engine = _postgresql_engine(url, connect_timeout_s=connect_timeout_s)
    return Database(url, engine, engine.execution_options(postgresql_readonly=True))
