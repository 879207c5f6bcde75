"""Alembic runs this file; the connection, which begins explicitly, comes from ``store.schema``."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from trunkline.store.models import METADATA


def _connection() -> Connection:
    connection: object = context.config.attributes.get("connection")
    if not isinstance(connection, Connection):
        raise TypeError("run migrations by python -m trunkline.store.migrate")
    return connection


context.configure(
    connection=_connection(),
    target_metadata=METADATA,
    render_as_batch=True,
    transaction_per_migration=True,
    transactional_ddl=True,  # true on SQLite as well, since our engine begins explicitly
)
with context.begin_transaction():
    context.run_migrations()
