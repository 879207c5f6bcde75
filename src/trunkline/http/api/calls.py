"""``/api/calls``: dial, list, read, hang up, transcript, recording, live events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import AwareDatetime

from trunkline.calls.control import hang_up
from trunkline.calls.place import OutboundRequest, place_call
from trunkline.calls.ports import Context
from trunkline.calls.stream import recording_file
from trunkline.errors import InvalidRequest, UnknownCall, UnknownRecording
from trunkline.http.api.models import Call, CallList, DialRequest, Transcript, TranscriptTurn
from trunkline.http.auth import Operator, Viewer, context_of
from trunkline.store.records import CallFilter, CallRecord, EventRecord
from trunkline.telephony.call import FINAL_STATES, CallState, Direction
from trunkline.telephony.carrier import AmdMode

__all__ = ["router"]

router = APIRouter(prefix="/api/calls", tags=["calls"])

KEEP_ALIVE_S = 15.0  # an SSE comment, so that proxies do not close an idle response
LINGER_S = 1.0  # the carrier may report the end before the gateway's last facts are here
MAX_BODY_JSON_BYTES = 64 * 1024  # the custom body travels to the gateway in one datagram
MAX_EVENT_ID = 2**63 - 1  # what a database column holds
CHUNK_BYTES = 64 * 1024


@router.post("/outbound", status_code=201)
async def dial(request: Request, response: Response, wanted: DialRequest, _role: Operator) -> Call:
    """Place a call.

    Answers once a worker is ready and the carrier has accepted the dial; 200 for a repeated
    ``idempotency_key``.
    """
    if wanted.body is not None and len(orjson.dumps(wanted.body)) > MAX_BODY_JSON_BYTES:
        raise InvalidRequest(f"body may have {MAX_BODY_JSON_BYTES} bytes as JSON", field="body")
    order = OutboundRequest(
        agent_name=wanted.agent_name,
        to_number=wanted.to_number,
        from_number=wanted.from_number,
        provider=wanted.provider,
        body=wanted.body,
        amd=AmdMode.DETECT if wanted.amd is True else wanted.amd or None,
        ring_timeout_s=wanted.ring_timeout_s,
        max_duration_s=wanted.max_duration_s,
        idempotency_key=wanted.idempotency_key,
    )
    call, is_new = await place_call(context_of(request), order)
    if not is_new:
        response.status_code = 200
    return Call.of(call)


@router.get("")
async def list_calls(
    request: Request,
    _role: Viewer,
    agent_name: str | None = None,
    provider: str | None = None,
    direction: Direction | None = None,
    state: Annotated[list[CallState], Query()] = [],  # noqa: B006 - FastAPI copies it
    from_number: str | None = None,
    to_number: str | None = None,
    created_after: AwareDatetime | None = None,
    created_before: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> CallList:
    """Calls, newest first, in keyset pages: pass ``next_cursor`` as ``cursor`` for the next one."""
    where = CallFilter(
        agent_name=agent_name,
        carrier=provider,
        direction=direction,
        states=state,
        from_number=from_number,
        to_number=to_number,
        created_after=created_after,
        created_before=created_before,
    )
    page = await context_of(request).store.fetch_calls(where, limit=limit, cursor=cursor)
    return CallList(calls=[Call.of(call) for call in page.calls], next_cursor=page.next_cursor)


async def _call(context: Context, call_id: str) -> CallRecord:
    call = await context.store.fetch_call(call_id)
    if call is None:
        raise UnknownCall(call_id)
    return call


@router.get("/{call_id}")
async def read_call(request: Request, call_id: str, _role: Viewer) -> Call:
    """One call."""
    return Call.of(await _call(context_of(request), call_id))


@router.post("/{call_id}/hangup")
async def end_call(request: Request, call_id: str, _role: Operator) -> Call:
    """End the call.

    One that is over already is answered as it is.
    """
    return Call.of(await hang_up(context_of(request), call_id))


@router.get("/{call_id}/transcript")
async def transcript(request: Request, call_id: str, _role: Viewer) -> Transcript:
    """What was said and pressed, with times and what the caller really heard."""
    context = context_of(request)
    await _call(context, call_id)
    events = await context.store.fetch_events(call_id, kinds=["turn", "dtmf"], limit=10_000)
    turns = sorted((TranscriptTurn.of(event) for event in events), key=_when)
    return Transcript(call_id=call_id, turns=turns)


def _when(turn: TranscriptTurn) -> int:
    return turn.started_ms if turn.started_ms is not None else 0


@router.get("/{call_id}/recording", response_class=FileResponse)
async def recording(request: Request, call_id: str, _role: Viewer) -> Response:
    """The stereo WAV: caller left, bot right.

    Can be fetched while the call goes on.
    """
    context = context_of(request)
    call = await _call(context, call_id)
    # Until the stream has ended the record does not say whether there is one; the file does.
    path = Path(call.recording_path) if call.recording_path else recording_file(context, call)
    size = await asyncio.to_thread(_size_of_recording, path, context.recordings_dir)
    if size is None:
        raise UnknownRecording(call_id)
    name = f"{call_id}.wav"
    if call.state in FINAL_STATES:
        return FileResponse(path, media_type="audio/wav", filename=name)
    # It still grows: send what is there now, whose length the answer can promise.
    return StreamingResponse(
        _first_bytes(path, size),
        media_type="audio/wav",
        headers={
            "Content-Length": str(size),
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )


def _size_of_recording(path: Path, folder: Path) -> int | None:
    """Bytes of the file; None when there is none, or it is not in ``folder``."""
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()) or not real.is_file():
        return None
    return real.stat().st_size


def _first_bytes(path: Path, count: int) -> Iterator[bytes]:
    """Starlette runs it in a thread."""
    with path.open("rb") as file:
        while count and (chunk := file.read(min(count, CHUNK_BYTES))):
            count -= len(chunk)
            yield chunk


@router.get("/{call_id}/events", response_class=StreamingResponse)
async def events(
    request: Request,
    call_id: str,
    _role: Viewer,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_EVENT_ID)] = None,
) -> StreamingResponse:
    """Server-sent events: everything on record so far, then each new fact as it happens.

    The last one is ``bye``. ``Last-Event-ID`` resumes after that event.
    """
    context = context_of(request)
    await _call(context, call_id)
    stream = _event_stream(context, call_id, last_event_id or 0)
    return StreamingResponse(
        stream,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _sse(event: EventRecord) -> bytes:
    data = {"kind": event.kind, "at": event.at, "call_id": event.call_id, **event.data}
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), orjson.dumps(data))


async def _event_stream(context: Context, call_id: str, after_id: int) -> AsyncIterator[bytes]:
    async with context.hub.listen(call_id) as changed:
        while True:
            changed.clear()
            found = await context.store.fetch_events(call_id, after_id=after_id)
            for event in found:
                after_id = event.id
                yield _sse(event)
            call = await context.store.fetch_call(call_id)
            is_over = call is None or (not found and _is_told(context, call))
            if is_over or context.hub.closing.is_set():
                yield b"event: bye\ndata: {}\n\n"
                return
            if found:
                continue
            is_ended = call is not None and call.state in FINAL_STATES
            try:
                async with asyncio.timeout(LINGER_S if is_ended else KEEP_ALIVE_S):
                    await changed.wait()
            except TimeoutError:
                yield b": still here\n\n"


def _is_told(context: Context, call: CallRecord) -> bool:
    """The call is over, and what its gateway had to tell has had the time to arrive."""
    if call.state not in FINAL_STATES or call.ended_at is None:
        return call.state in FINAL_STATES
    return (context.now() - call.ended_at).total_seconds() >= LINGER_S
