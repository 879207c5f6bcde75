"""``trunkline keys``: made directly in the database, so that the first key needs no server."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from trunkline.cli.configuration import load_settings
from trunkline.cli.output import JsonOption, show_json, show_table
from trunkline.errors import InvalidRequest
from trunkline.settings import Settings
from trunkline.store import ApiKeyRecord, Role, SqlStore
from trunkline.store.engine import parse_database_url
from trunkline.store.migrate import prepare_home, upgrade

__all__ = ["app", "make_key"]

app = typer.Typer(no_args_is_help=True)

_KEY_BYTES = 32  # 43 characters: 256 random bits

_AsJson = Annotated[bool, JsonOption]


@asynccontextmanager
async def _open_store(settings: Settings) -> AsyncGenerator[SqlStore]:
    """Open the database, made and migrated if it was not yet."""
    prepare_home(settings.trunkline_home)
    await upgrade(parse_database_url(settings.effective_database_url))
    store = await SqlStore.open(settings.effective_database_url)
    try:
        yield store
    finally:
        await store.close()


async def make_key(settings: Settings, name: str, role: Role) -> tuple[ApiKeyRecord, str]:
    """Write a new key; return its record and the key itself, which is kept nowhere.

    Raises:
        StoreError: the database is away, or refuses.
        ConfigError: the database cannot be used.
    """
    key = f"tk_{secrets.token_urlsafe(_KEY_BYTES)}"
    record = ApiKeyRecord(
        id=str(uuid.uuid4()),
        name=name,
        role=role,
        digest=hashlib.sha256(key.encode()).hexdigest(),
        created_at=datetime.now(UTC),
    )
    async with _open_store(settings) as store:
        await store.create_api_key(record)
    return record, key


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for, for you to recognise.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.ADMIN,
    as_json: _AsJson = False,
) -> None:
    """Create a key. It is shown once."""
    record, key = asyncio.run(make_key(load_settings(), name, role))
    if as_json:
        show_json({"id": record.id, "name": name, "role": role, "key": key})
        return
    typer.echo(key)
    typer.echo(f"role {role.value}; shown only now. Use it as TRUNKLINE_API_KEY.", err=True)


@app.command("list")
def list_keys(as_json: _AsJson = False) -> None:
    """List all keys, revoked ones too; never the keys themselves."""
    rows = asyncio.run(_fetch(load_settings()))
    if as_json:
        show_json(rows)
        return
    columns = ("id", "name", "role", "created_at", "last_used_at", "revoked_at")
    show_table(columns, [[row[column] for column in columns] for row in rows])


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
) -> None:
    """Revoke a key, at once and for good."""
    if not asyncio.run(_revoke(load_settings(), key_id)):
        raise InvalidRequest(
            f"there is no key {key_id} that is in force", field="id", code="unknown_key"
        )
    typer.echo(f"{key_id} is revoked")


async def _fetch(settings: Settings) -> list[dict[str, object]]:
    async with _open_store(settings) as store:
        keys = await store.fetch_api_keys()
    return [
        {
            "id": key.id,
            "name": key.name,
            "role": key.role.value,
            "created_at": key.created_at.isoformat(timespec="seconds"),
            "last_used_at": _when(key.last_used_at),
            "revoked_at": _when(key.revoked_at),
        }
        for key in keys
    ]


async def _revoke(settings: Settings, key_id: str) -> bool:
    async with _open_store(settings) as store:
        return await store.revoke_api_key(key_id)


def _when(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
