from __future__ import annotations

import asyncio

import pytest

from trunkline.errors import StoreUnavailable
from trunkline.store.engine import open_database, parse_database_url
from trunkline.store.locks import lock_key, take_locks


def test_keys_are_signed_64_bit_numbers_that_stay_the_same() -> None:
    keys = [lock_key(f"name-{number}") for number in range(200)]

    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert len(set(keys)) == 200
    assert min(keys) < 0 < max(keys)
    # Two versions of Trunkline on one database have to agree.
    assert lock_key("migrate") == 4307694844222389748
    assert isinstance(lock_key("\ud800"), int)


async def test_a_lock_is_held_until_the_transaction_ends(sql_url: str) -> None:
    """On SQLite whatever the name: there is one writer."""
    database = open_database(parse_database_url(sql_url))
    order: list[str] = []
    has_lock = asyncio.Event()
    may_end = asyncio.Event()

    async def first() -> None:
        async with database.write() as session:
            await take_locks(session, ["a", "b"])
            has_lock.set()
            await may_end.wait()
            order.append("first")

    async def second() -> None:
        await has_lock.wait()
        async with database.write() as session:
            may_end.set()
            await take_locks(session, ["b", "c"])
            order.append("second")

    async def second_on_sqlite() -> None:
        await has_lock.wait()
        may_end.set()
        async with database.write() as session:
            await take_locks(session, ["b", "c"])
            order.append("second")

    is_sqlite = sql_url.startswith("sqlite")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(first())
        group.create_task(second_on_sqlite() if is_sqlite else second())

    assert order == ["first", "second"]
    await database.close()


async def test_locks_in_any_order_never_deadlock(sql_url: str) -> None:
    database = open_database(parse_database_url(sql_url))
    names = ["a", "b", "c", "d"]

    async def take(shift: int) -> None:
        async with database.write() as session:
            await take_locks(session, names[shift:] + names[:shift])

    async with asyncio.timeout(20):
        await asyncio.gather(*(take(number % 4) for number in range(60)))
    await database.close()


async def test_a_failed_transaction_gives_its_locks_back(sql_url: str) -> None:
    database = open_database(parse_database_url(sql_url))

    async def fail() -> None:
        async with database.write() as session:
            await take_locks(session, ["a"])
            raise TimeoutError

    with pytest.raises(StoreUnavailable):
        await fail()

    async with asyncio.timeout(5), database.write() as session:
        await take_locks(session, ["a"])
    await database.close()
