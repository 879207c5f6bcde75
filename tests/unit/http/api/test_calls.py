from __future__ import annotations

import asyncio
import json
import wave
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.front import CALLER, KEYS, OUR_NUMBER, FrontWorld, app_of, create_keys
from tests.support.stores import NOON, admitted
from tests.support.uvicorn_server import connected, serving
from trunkline.errors import DispatchError
from trunkline.http.api.calls import MAX_BODY_JSON_BYTES
from trunkline.http.edge import Refusal, Upgrade
from trunkline.store import NewEvent, Role
from trunkline.telephony.call import CallState

ORDER = {"agent_name": "front-desk", "to_number": CALLER}


async def dial(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await client.post("/api/calls/outbound", json={**ORDER, **fields})


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# dialling


async def test_a_dial_answers_with_the_record(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    await world.agent()
    body = {"customer": "Ada", "list": [1, {"a": None}], "long": "x" * 1000}
    answer = await dial(admin, body=body, amd=True, idempotency_key="once")
    assert answer.status_code == 201
    call = answer.json()
    assert (call["provider"], call["direction"], call["state"]) == ("twilio", "outbound", "queued")
    assert (call["from_number"], call["to_number"], call["body"]) == (OUR_NUMBER, CALLER, body)
    assert world.twilio.dials[0]["MachineDetection"] == ["Enable"]
    again = await dial(admin, body=body, idempotency_key="once")
    assert (again.status_code, again.json()["id"]) == (200, call["id"])
    assert len(world.twilio.dials) == 1


async def test_what_a_dial_may_be_refused_for(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    assert error(await dial(admin)) == (404, "unknown_agent")
    await world.agent()
    assert error(await dial(admin, to_number="415")) == (422, "invalid_number")
    assert error(await dial(admin, provider="acme")) == (404, "unknown_carrier")
    assert error(await dial(admin, ring_timeout_s=1)) == (422, "invalid_request")
    assert error(await dial(admin, body={"x": "y" * MAX_BODY_JSON_BYTES})) == (
        422,
        "invalid_request",
    )
    del world.environment["TWILIO_PHONE_NUMBER"]
    assert error(await dial(admin)) == (422, "caller_id_missing")
    world.draining.append(True)
    assert error(await dial(admin)) == (503, "draining")
    assert world.twilio.requests == []


@pytest.mark.parametrize(
    "value", ["NaN", "[-Infinity]", '{"x": "\\ud800"}', "[" * 5000 + "]" * 5000]
)
async def test_what_python_parses_and_json_does_not_have(
    admin: httpx.AsyncClient, world: FrontWorld, value: str
) -> None:
    await world.agent()
    content = json.dumps(ORDER)[:-1].encode() + f', "body": {value}}}'.encode()
    answer = await admin.post(
        "/api/calls/outbound", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "invalid_request"
    assert await world.slots() == 0


async def test_the_limit_says_how_much_is_in_use(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    await world.agent()
    for _ in range(10):
        assert (await dial(admin)).status_code == 201
    answer = await dial(admin)
    assert error(answer) == (429, "limit_reached")
    details = answer.json()["error"]["details"]
    assert (details["provider"], details["limit"], details["in_use"]) == ("twilio", 10, 10)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (httpx.Response(400, json={"code": 21211}), (502, "carrier_rejected")),
        (httpx.Response(500), (502, "carrier_unavailable")),
        (httpx.ReadTimeout("slow"), (504, "carrier_timeout")),
    ],
)
async def test_a_carrier_that_fails(
    admin: httpx.AsyncClient,
    world: FrontWorld,
    fault: httpx.Response | Exception,
    expected: tuple[int, str],
) -> None:
    await world.agent()
    world.twilio.faults.append(fault)
    answer = await dial(admin)
    assert error(answer) == expected
    assert answer.json()["error"]["details"]["provider"] == "twilio"


async def test_a_worker_that_is_not_ready(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    await world.agent()
    world.dispatcher.failure = DispatchError("no worker became ready")
    assert error(await dial(admin)) == (503, "no_worker")


# reading


async def test_calls_come_in_pages_newest_first(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    made = [
        await admitted(world.store, created_at=NOON + timedelta(seconds=number))
        for number in range(5)
    ]
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2"}
    while True:
        page = (await admin.get("/api/calls", params=query)).json()
        seen += [call["id"] for call in page["calls"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [call.id for call in reversed(made)]


async def test_filters(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    await admitted(world.store, state=CallState.BUSY, from_number="+14155550123")
    await admitted(world.store, agent_name="other", carrier="twilio")
    for query, count in (
        ({"state": ["busy", "failed"]}, 1),
        ({"agent_name": "other"}, 1),
        ({"provider": "twilio"}, 1),
        ({"direction": "outbound"}, 0),
        ({"from_number": "+14155550123"}, 1),
        ({"created_after": NOON.isoformat()}, 2),
        ({"created_before": NOON.isoformat()}, 0),
    ):
        page = (await admin.get("/api/calls", params=query)).json()
        assert len(page["calls"]) == count, query


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "cursor=x", "state=asleep", "created_after=2026-03-01T00:00:00"]
)
async def test_a_bad_query(admin: httpx.AsyncClient, query: str) -> None:
    assert error(await admin.get(f"/api/calls?{query}")) == (422, "invalid_request")


@pytest.mark.parametrize("path", ["", "/transcript", "/recording", "/events"])
async def test_no_such_call(admin: httpx.AsyncClient, path: str) -> None:
    assert error(await admin.get(f"/api/calls/nobody{path}")) == (404, "unknown_call")


async def test_hanging_up(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    call = await admitted(world.store, carrier="twilio")
    answer = await admin.post(f"/api/calls/{call.id}/hangup")
    assert (answer.status_code, answer.json()["ended_by"]) == (200, "api")
    assert (await admin.post(f"/api/calls/{call.id}/hangup")).json() == answer.json()


async def test_the_transcript_is_in_the_order_of_speaking(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    call = await admitted(world.store)
    for kind, data in (
        ("turn", {"speaker": "caller", "text": "hi", "started_ms": 900, "ended_ms": 1200}),
        ("turn", {"speaker": "bot", "text": "hello", "heard_text": "hel", "started_ms": 100}),
        ("dtmf", {"digit": "1", "at_ms": 2000}),
        ("bot_started", {"attempt": 1}),
    ):
        await world.store.append_event(NewEvent(call_id=call.id, kind=kind, at=NOON, data=data))
    answer = await admin.get(f"/api/calls/{call.id}/transcript")
    assert [turn["text"] for turn in answer.json()["turns"]] == ["hello", "hi", "1"]


# recordings


def write_wav(path: Path, seconds: float = 0.1) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(8000 * seconds) * 4))
    return path.read_bytes()


async def test_a_recording_is_a_wav_file(admin: httpx.AsyncClient, world: FrontWorld) -> None:
    path = world.context.recordings_dir / "2026" / "a.wav"
    data = write_wav(path)
    call = await admitted(world.store, state=CallState.COMPLETED, recording_path=str(path))
    answer = await admin.get(f"/api/calls/{call.id}/recording")
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content == data
    part = await admin.get(f"/api/calls/{call.id}/recording", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")


async def test_a_live_call_s_recording_is_what_there_is_now(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    call = await admitted(world.store, state=CallState.IN_PROGRESS)
    data = write_wav(world.context.recordings_dir / f"2026/03/01/{call.id}.wav", seconds=5)
    answer = await admin.get(f"/api/calls/{call.id}/recording")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))


async def test_nothing_outside_the_folder_is_given_away(
    admin: httpx.AsyncClient, world: FrontWorld, tmp_path: Path
) -> None:
    folder = world.context.recordings_dir
    folder.mkdir(parents=True)
    outside = tmp_path / "secret.wav"
    write_wav(outside)
    (folder / "link.wav").symlink_to(outside)
    for path in (
        str(outside),
        str(folder / ".." / "secret.wav"),
        str(folder / "link.wav"),
        str(folder),
        str(folder / "gone.wav"),
        "secret.wav",
    ):
        call = await admitted(world.store, state=CallState.COMPLETED, recording_path=path)
        answer = await admin.get(f"/api/calls/{call.id}/recording")
        assert error(answer) == (404, "unknown_recording"), path


# server-sent events


async def refuse(_upgrade: Upgrade) -> Refusal | None:
    return Refusal(403, "x", "x")


def parse_sse(text: str) -> list[tuple[str, str]]:
    """Event name and id of each event."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], lines.get("id", "")))
    return found


async def test_a_call_that_is_over_is_told_whole_and_then_bye(
    admin: httpx.AsyncClient, world: FrontWorld
) -> None:
    call = await admitted(world.store, state=CallState.COMPLETED, ended_at=NOON)
    world.clock.advance(60)
    kept = [
        await world.store.append_event(NewEvent(call_id=call.id, kind=kind, at=NOON))
        for kind in ("admitted", "turn", "ended")
    ]
    answer = await admin.get(f"/api/calls/{call.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = parse_sse(answer.text)
    assert [kind for kind, _ in told] == ["admitted", "turn", "ended", "bye"]
    assert kept[0] is not None
    resumed = await admin.get(
        f"/api/calls/{call.id}/events", headers={"Last-Event-ID": str(kept[0].id)}
    )
    assert parse_sse(resumed.text) == told[1:]


@pytest.mark.parametrize("last", ["x", "-1", str(2**70)])
async def test_a_bad_position(admin: httpx.AsyncClient, last: str) -> None:
    answer = await admin.get("/api/calls/any/events", headers={"Last-Event-ID": last})
    assert error(answer) == (422, "invalid_request")


async def test_a_live_call_is_told_as_it_happens_until_the_server_says_bye(
    world: FrontWorld,
) -> None:
    await create_keys(world.store)
    call = await admitted(world.store, state=CallState.IN_PROGRESS)
    head = (
        f"GET /api/calls/{call.id}/events HTTP/1.1\r\nHost: x\r\n"
        f"X-API-Key: {KEYS[Role.VIEWER]}\r\nConnection: close\r\n\r\n"
    )
    async with serving(app_of(world), refuse) as port, connected(port) as peer:
        await peer.send(head.encode())
        await peer.read_head()
        await world.store.append_event(NewEvent(call_id=call.id, kind="turn", at=NOON))
        world.context.hub.notify(call.id)
        async with asyncio.timeout(10):
            told = await peer.reader.readuntil(b"event: turn\n")
        world.context.hub.close()
        told += await peer.read_to_end()
    assert b"event: bye\n" in told
