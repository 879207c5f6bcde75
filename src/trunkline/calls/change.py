"""Changes of a call that depend on where it stands.

Webhooks and journals are handled side by side. Between reading a call and writing it another fact
may have moved it on, and a call must never move back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trunkline.store.records import CallRecord, NewEvent, Store

__all__ = ["change_from"]


async def change_from(
    store: Store,
    call: CallRecord,
    decide: Callable[[CallRecord], Mapping[str, object]],
    event: NewEvent,
) -> CallRecord | None:
    """Write what ``decide`` wants of the call as it stands at that moment, and the event.

    ``decide`` is asked again when the call's state has changed in between; states only advance, so
    that ends. None when the event's key is already there, or the call is gone.
    """
    while True:
        changed = await store.change_call(
            call.id, decide(call), events=[event], only_if_state=[call.state]
        )
        if changed is not None:
            return changed
        current = await store.fetch_call(call.id)
        if current is None or current.state is call.state:
            return None
        call = current
