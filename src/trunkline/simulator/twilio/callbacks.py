"""Status callbacks of one call: numbered, signed, sent beside the call, and disturbed on request.

https://www.twilio.com/docs/voice/api/call-resource#statuscallback
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.twilio.requester import Requester

__all__ = ["StatusCallbacks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Callback:
    fields: Mapping[str, str]
    delivery_id: str


class StatusCallbacks:
    """Sends what was subscribed to, one after the other, without holding the call up.

    Args:
        requester: Sends and signs.
        url: ``StatusCallback``; None: nobody wants to know.
        method: ``StatusCallbackMethod``.
        events: ``StatusCallbackEvent``: ``initiated``, ``ringing``, ``answered``, ``completed``.
        faults: Duplicates and wrong order.
    """

    def __init__(
        self,
        *,
        requester: Requester,
        url: str | None,
        method: str = "POST",
        events: frozenset[str] = frozenset({"completed"}),
        faults: Faults | None = None,
    ) -> None:
        self._requester = requester
        self._url = url
        self._method = method
        self._events = events
        self._faults = faults or Faults()
        self._sequence = 0
        self._queue: asyncio.Queue[_Callback | None] = asyncio.Queue()
        self._held: _Callback | None = None

    def report(self, event: str, fields: Mapping[str, str]) -> None:
        """Queue the callback of ``event`` unless nobody subscribed to it."""
        if self._url is None or event not in self._events:
            return
        numbered = {
            **fields,
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
            "Timestamp": format_datetime(datetime.now(UTC)),
        }
        self._sequence += 1
        callback = _Callback(fields=numbered, delivery_id=str(uuid.uuid4()))
        if not self._faults.has(Fault.REORDER_CALLBACKS):
            self._queue.put_nowait(callback)
        elif self._held is None:
            self._held = callback
        else:
            self._queue.put_nowait(callback)
            self._queue.put_nowait(self._held)
            self._held = None

    def finish(self) -> None:
        """Say that no more will come."""
        if self._held is not None:
            self._queue.put_nowait(self._held)
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Send until ``finish``."""
        times = 2 if self._faults.has(Fault.DUPLICATE_CALLBACKS) else 1
        while (callback := await self._queue.get()) is not None:
            for _ in range(times):
                await self._requester.send(
                    self._url or "",
                    callback.fields,
                    kind="status",
                    method=self._method,
                    delivery_id=callback.delivery_id,
                )
