from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.stores import NOON
from trunkline.errors import Conflict
from trunkline.store import ApiKeyRecord, Role, Store

KEY = ApiKeyRecord(id="k1", name="laptop", role=Role.OPERATOR, digest="d1", created_at=NOON)


async def test_a_key_is_found_by_its_digest(store: Store) -> None:
    await store.create_api_key(KEY)

    assert await store.fetch_api_key("d1") == KEY
    assert await store.fetch_api_key("d2") is None


@pytest.mark.parametrize("changes", [{"id": "k2"}, {"digest": "d2"}])
async def test_ids_and_digests_are_given_once(store: Store, changes: dict[str, str]) -> None:
    await store.create_api_key(KEY)

    with pytest.raises(Conflict):
        await store.create_api_key(replace(KEY, **changes))

    assert await store.fetch_api_keys() == [KEY]


async def test_a_revoked_key_is_listed_but_not_found(store: Store) -> None:
    await store.create_api_key(KEY)

    assert await store.revoke_api_key("k1") is True
    assert await store.revoke_api_key("k1") is False
    assert await store.revoke_api_key("nobody") is False

    assert await store.fetch_api_key("d1") is None
    (listed,) = await store.fetch_api_keys()
    assert listed.revoked_at is not None
    assert listed.revoked_at.utcoffset() == timedelta(0)


async def test_the_last_use_never_goes_back(store: Store) -> None:
    await store.create_api_key(KEY)
    later = NOON + timedelta(minutes=1)

    await store.touch_api_key("k1", later)
    await store.touch_api_key("k1", NOON)
    await store.touch_api_key("nobody", NOON)

    key = await store.fetch_api_key("d1")
    assert key is not None
    assert key.last_used_at == later


async def test_keys_are_listed_oldest_first(store: Store) -> None:
    newer = replace(KEY, id="k0", digest="d0", created_at=NOON + timedelta(days=1))
    await store.create_api_key(newer)
    await store.create_api_key(KEY)

    assert await store.fetch_api_keys() == [KEY, newer]
