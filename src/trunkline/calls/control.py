"""Live control of a call by people and programs: hang up."""

from __future__ import annotations

from trunkline.calls.finish import client_for, finish_call
from trunkline.calls.ports import Context
from trunkline.errors import UnknownCall
from trunkline.store.records import CallRecord, NewEvent
from trunkline.telephony.call import FINAL_STATES, CallState, EndedBy, EndReason

__all__ = ["hang_up"]


async def hang_up(context: Context, call_id: str, *, by: EndedBy = EndedBy.API) -> CallRecord:
    """End a call wherever it stands; one that is over is returned as it is.

    A call with a live stream is ended by its gateway, which tells the record; one that still rings
    is ended by REST.

    Raises:
        UnknownCall: no such call.
        CarrierError, ConfigError: the carrier could not be reached for a call without a stream; it
            stays open.
    """
    call = await context.store.fetch_call(call_id)
    if call is None:
        raise UnknownCall(call_id)
    if call.state in FINAL_STATES:
        return call
    if await context.gateways.end_call(call_id, by=by.value, reason=EndReason.COMPLETED.value):
        return await context.store.fetch_call(call_id) or call
    reason = EndReason.COMPLETED if call.state is CallState.IN_PROGRESS else EndReason.CANCELED
    wanted = NewEvent(
        call_id=call.id,
        kind="hangup_wanted",
        at=context.now(),
        data={"by": by.value, "reason": reason.value},
        key=f"{call.id}:api-hangup",
    )
    await context.store.append_event(wanted)
    if call.carrier_call_id is not None:
        await (await client_for(context, call)).hang_up(call.carrier_call_id)
    ended = await finish_call(context, call, by=by, reason=reason, leg_is_down=True)
    await context.dispatcher.release(call.id)
    return ended
