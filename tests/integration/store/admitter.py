"""A process of its own that admits calls all at once and prints how many were let in."""

from __future__ import annotations

import asyncio
import sys

from tests.support.stores import make_call
from trunkline.errors import NoFreeSlot
from trunkline.store import SlotRequest, SqlStore


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(url: str, calls: int, limit: int) -> None:
    store = await SqlStore.open(url)
    tell("ready")
    await asyncio.to_thread(sys.stdin.readline)  # until all are there

    async def admit() -> bool:
        slots = [SlotRequest(scope=scope, limit=limit) for scope in ("machine", "carrier:acme")]
        try:
            await store.admit_call(make_call(), slots)
        except NoFreeSlot:
            return False
        return True

    admitted = await asyncio.gather(*(admit() for _ in range(calls)))
    tell(str(sum(admitted)))
    await store.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
