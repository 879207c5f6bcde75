"""Who is told when something happens to a call: listeners within this process.

The hub only wakes; what happened is read from the store, so that a slow listener misses nothing and
costs no memory.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

__all__ = ["EventHub"]


class EventHub:
    """Wakes whoever listens for a call."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = asyncio.Event()
        """Set when the process is about to end: listeners say goodbye."""

    def notify(self, call_id: str) -> None:
        """Something was written about this call."""
        for event in self._listeners.get(call_id, ()):
            event.set()

    def close(self) -> None:
        """Wake everyone for good: the process ends."""
        self.closing.set()
        for events in self._listeners.values():
            for event in events:
                event.set()

    @asynccontextmanager
    async def listen(self, call_id: str) -> AsyncGenerator[asyncio.Event]:
        """An event that is set at each notification.

        The listener clears it before it reads the store.
        """
        event = asyncio.Event()
        self._listeners[call_id].add(event)
        try:
            yield event
        finally:
            self._listeners[call_id].discard(event)
            if not self._listeners[call_id]:
                del self._listeners[call_id]
