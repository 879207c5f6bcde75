"""The stores, one fixture over all implementations."""

from __future__ import annotations

from tests.support.postgres import (
    migrated_postgres,
    postgres_server,
    postgres_url,
    shared_postgres,
)
from tests.support.stores import (
    migrated_sqlite,
    sql_store,
    sql_url,
    sqlite_template,
    store,
    store_url,
)

__all__ = [
    "migrated_postgres",
    "migrated_sqlite",
    "postgres_server",
    "postgres_url",
    "shared_postgres",
    "sql_store",
    "sql_url",
    "sqlite_template",
    "store",
    "store_url",
]
