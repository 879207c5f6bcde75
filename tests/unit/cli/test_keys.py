from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from trunkline.cli.configuration import load_settings
from trunkline.cli.keys import make_key
from trunkline.store import Role, SqlStore

from .conftest import Run


async def test_a_key_is_random_and_only_its_digest_is_kept() -> None:
    record, key = await make_key(load_settings(), "laptop", Role.OPERATOR)
    store = await SqlStore.open(load_settings().effective_database_url)
    try:
        found = await store.fetch_api_key(hashlib.sha256(key.encode()).hexdigest())
    finally:
        await store.close()

    assert re.fullmatch(r"tk_[A-Za-z0-9_-]{43}", key)
    assert found is not None
    assert (found.id, found.name, found.role) == (record.id, "laptop", Role.OPERATOR)


def test_the_first_key_needs_no_server_and_is_shown_alone(run: Run, tmp_path: Path) -> None:
    result = run("keys", "create", "laptop")

    assert re.fullmatch(r"tk_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "role admin" in result.stderr
    assert (tmp_path / "home" / "trunkline.db").exists()


def test_keys_are_listed_without_themselves_and_revoked_once(run: Run) -> None:
    created = json.loads(run("keys", "create", "ci", "--role", "viewer", "--json").stdout)
    (listed,) = json.loads(run("keys", "list", "--json").stdout)

    assert (listed["id"], listed["role"], listed["revoked_at"]) == (created["id"], "viewer", None)
    assert created["key"] not in json.dumps(listed)
    assert "ci" in run("keys", "list").stdout
    assert run("keys", "revoke", created["id"]).exit_code == 0
    again = run("keys", "revoke", created["id"])
    assert again.exit_code == 1
    assert "error (unknown_key)" in again.stderr
    (listed,) = json.loads(run("keys", "list", "--json").stdout)
    assert listed["revoked_at"] is not None
