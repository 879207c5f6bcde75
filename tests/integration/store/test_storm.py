"""Many callers in the same moment: limits are exact, and nobody hears of a locked database."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.stores import make_call
from trunkline.errors import NoFreeSlot
from trunkline.store import SlotRequest, SqlStore, Store

CALLERS = 300
LIMIT = 10
SLOTS = [
    SlotRequest(scope="carrier:acme", limit=LIMIT),
    SlotRequest(scope="agent:front-desk", limit=None),
    SlotRequest(scope="machine", limit=200),
]
TAKEN = {"carrier:acme": LIMIT, "agent:front-desk": LIMIT, "machine": LIMIT}
ROOT = Path(__file__).resolve().parents[3]


async def test_of_300_simultaneous_callers_exactly_the_limit_is_admitted(store: Store) -> None:
    results = await asyncio.gather(
        *(store.admit_call(make_call(), SLOTS) for _ in range(CALLERS)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, NoFreeSlot)]
    assert len(refused) == CALLERS - LIMIT
    assert all(
        (error.scope, error.limit, error.in_use) == ("carrier:acme", LIMIT, LIMIT)
        for error in refused
    )
    assert sum(isinstance(result, tuple) for result in results) == LIMIT
    assert await store.count_slots() == TAKEN
    assert len(await store.fetch_open_calls()) == LIMIT


async def test_300_simultaneous_webhooks_of_one_call_are_one_call(store: Store) -> None:
    results = await asyncio.gather(
        *(
            store.admit_call(make_call(carrier_call_id="CA1", idempotency_key="key"), SLOTS)
            for _ in range(CALLERS)
        )
    )

    assert len({call.id for call, _ in results}) == 1
    assert sum(is_new for _, is_new in results) == 1
    assert await store.count_slots() == dict.fromkeys(TAKEN, 1)


async def test_slots_in_any_order_neither_deadlock_nor_overfill(store: Store) -> None:
    """With calls that end meanwhile."""
    most = 0

    async def call(number: int) -> None:
        nonlocal most
        order = SLOTS[number % 3 :] + SLOTS[: number % 3]
        try:
            admitted, _ = await store.admit_call(make_call(), order)
        except NoFreeSlot:
            return
        most = max(most, max((await store.count_slots()).values(), default=0))
        assert await store.free_slots(admitted.id)

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(CALLERS)))

    assert 0 < most <= LIMIT
    assert await store.count_slots() == {}


async def test_several_processes_share_one_limit(sql_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("admitter.py")),
            sql_url,
            "60",
            str(LIMIT),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    try:
        async with asyncio.timeout(60):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(int(output) for output, _ in answers) == LIMIT
    store = await SqlStore.open(sql_url)
    assert await store.count_slots() == {"machine": LIMIT, "carrier:acme": LIMIT}
    await store.close()
