from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.front import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    CALL_SID,
    CALLER,
    FrontWorld,
    app_of,
    open_world,
    signature,
)
from tests.support.stores import admitted
from tests.support.uvicorn_server import connected, serving, upgrade_head
from tests.support.waiting import eventually
from trunkline import carriers
from trunkline.calls.admit import connect_document
from trunkline.dispatch.messages import CallFacts, JournalEntry
from trunkline.errors import DispatchError
from trunkline.http.live import GatewayFleet, MediaDoor, agent_spec, take_in_entry
from trunkline.settings import Settings
from trunkline.store import AgentKind, AgentRecord, CallRecord, InMemoryStore
from trunkline.telephony.call import CallState

STATIC = "/ws/twilio/front-desk"
PUBLIC = "wss://voice.example.com"


class FakeFleet:
    """Takes sockets as a gateway would, or does not."""

    def __init__(self) -> None:
        self.taken: list[tuple[socket.socket, bytes, CallFacts]] = []
        self.failure: DispatchError | None = None

    async def hand_over(self, descriptor: int, head: bytes, facts: CallFacts) -> None:
        if self.failure is not None:
            raise self.failure
        self.taken.append((socket.socket(fileno=os.dup(descriptor)), head, facts))

    def close(self) -> None:
        for sock, _, _ in self.taken:
            sock.close()


@asynccontextmanager
async def open_door(world: FrontWorld) -> AsyncIterator[tuple[int, FakeFleet]]:
    fleet = FakeFleet()
    door = MediaDoor(fleet)
    door.open(world.context)
    async with serving(app_of(world), door) as port:
        yield port, fleet
        fleet.close()


async def knock(port: int, path: str, signed: str | None = "", host: str = "localhost") -> bytes:
    head = upgrade_head(path, host=host)
    if signed is not None:
        proof = signed or signature(PUBLIC + path)
        head = head[:-2] + f"x-twilio-signature: {proof}\r\n\r\n".encode()
    async with connected(port) as peer:
        await peer.send(head)
        return await peer.read_to_end()


async def waiting_call(world: FrontWorld, **changes: object) -> tuple[CallRecord, str]:
    """A call that was admitted by its webhook, and the path of its socket."""
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        "created_at": world.clock.now,
        **changes,
    }
    call = await admitted(world.store, "carrier:twilio", **values)
    twilio = carriers.get("twilio")
    account = await world.context.accounts.account(twilio)
    markup = connect_document(world.context, twilio, account, call).body.decode()
    return call, markup.split(PUBLIC)[1].split('"')[0]


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_an_admitted_call_s_socket_goes_to_a_gateway(world: FrontWorld) -> None:
    await world.agent(max_duration_s=600, silence_timeout_s=30)
    call, path = await waiting_call(world, body={"order": 1})
    async with open_door(world) as (port, fleet):
        knocking = asyncio.get_running_loop().create_task(knock(port, path))
        await eventually(lambda: fleet.taken, what="the hand-over")
        sock, head, facts = fleet.taken[0]
        assert b"Sec-WebSocket-Key" in head
        assert (facts.call_id, facts.carrier, facts.direction) == (call.id, "twilio", "inbound")
        assert (facts.from_number, facts.carrier_call_id) == (CALLER, CALL_SID)
        assert facts.body == {"order": 1}
        assert (facts.max_duration_s, facts.silence_timeout_s) == (600.0, 30.0)
        assert facts.recording_path is not None
        assert facts.recording_path.startswith(str(world.context.recordings_dir))
        assert facts.stream_number == 1
        sock.close()
        await knocking


@pytest.mark.parametrize(
    ("path", "signed", "expected"),
    [
        (STATIC, None, 401),
        (STATIC, "forged", 403),
        ("/ws/twilio/nobody", "", 404),
        ("/ws/acme/front-desk", "", 404),
        ("/ws/twilio", "", 404),
        ("/ws/a/b/c/d", "", 404),
        (STATIC + "/x.9999999999.y", "", 403),
    ],
)
async def test_who_may_not_come_in(
    world: FrontWorld, path: str, signed: str | None, expected: int
) -> None:
    await world.agent()
    async with open_door(world) as (port, fleet):
        assert status(await knock(port, path, signed)) == expected
        assert fleet.taken == []
    assert await world.slots() == 0


async def test_a_used_token_is_refused(world: FrontWorld) -> None:
    await world.agent()
    call, path = await waiting_call(world)
    await world.store.change_call(call.id, {"stream_started_at": world.clock.now})
    async with open_door(world) as (port, _):
        answer = await knock(port, path)
    assert status(answer) == 403
    assert b"invalid_token" in answer


async def test_the_log_tells_why_in_one_line_and_not_the_token(world: FrontWorld) -> None:
    await world.agent()
    _, path = await waiting_call(world)
    async with open_door(world) as (port, _):
        with capture_logs() as lines:
            await knock(port, path, "forged")
    [line] = lines
    assert line["reason"] == "no candidate fits"
    assert line["signed_url"] == f"{PUBLIC}{STATIC}/…"
    assert line["client"] == "127.0.0.1"
    assert path.rsplit("/", 1)[1] not in str(line)


async def test_the_eleventh_socket_of_a_static_url_gets_503(world: FrontWorld) -> None:
    await world.agent(max_concurrent_calls=1)
    await admitted(world.store, "agent:front-desk")
    async with open_door(world) as (port, fleet):
        answer = await knock(port, STATIC)
        assert status(answer) == 503
        assert b"limit_reached" in answer
        assert fleet.taken == []


async def test_draining_and_a_lost_database_are_503(world: FrontWorld) -> None:
    await world.agent()
    async with open_door(world) as (port, _):
        world.draining.append(True)
        assert b'"draining"' in await knock(port, STATIC)
        world.draining.clear()
        assert isinstance(world.store, InMemoryStore)
        world.store.is_available = False
        answer = await knock(port, STATIC)
        assert status(answer) == 503
        assert b"store_unavailable" in answer


async def test_a_socket_that_no_gateway_takes_gives_its_slot_back(world: FrontWorld) -> None:
    await world.agent()
    async with open_door(world) as (port, fleet):
        fleet.failure = DispatchError("no gateway is connected")
        assert status(await knock(port, STATIC)) == 503
        await world.settled()
        assert await world.slots() == 0
        assert await world.store.fetch_open_calls() == []
        fleet.failure = None
        knocking = asyncio.get_running_loop().create_task(knock(port, STATIC))
        await eventually(lambda: fleet.taken, what="the next call works")
        fleet.close()
        await knocking


async def test_an_admitted_call_keeps_its_slot_for_the_carrier_s_next_try(
    world: FrontWorld,
) -> None:
    await world.agent()
    call, path = await waiting_call(world)
    async with open_door(world) as (port, fleet):
        fleet.failure = DispatchError("no gateway is connected")
        assert status(await knock(port, path)) == 503
        await world.settled()
    assert (await world.call(call.id)).state is CallState.RINGING
    assert await world.slots() == 1


async def test_a_check_that_is_cut_short_leaks_no_slot(world: FrontWorld) -> None:
    await world.agent()

    class Stuck(FakeFleet):
        async def hand_over(self, descriptor: int, head: bytes, facts: CallFacts) -> None:
            await asyncio.Event().wait()

    door = MediaDoor(Stuck())
    door.open(world.context)
    async with serving(app_of(world), door, check_timeout_s=0.1) as port:
        assert status(await knock(port, STATIC)) == 503
        await world.settled()
        assert await world.slots() == 0


async def test_without_a_public_url_sockets_come_from_this_machine(tmp_path: Path) -> None:
    async with open_world(tmp_path, is_configured=False) as world:
        await world.agent()
        async with open_door(world) as (port, _):
            answer = await knock(port, STATIC, host="abc.ngrok.app")
    assert status(answer) == 422
    assert b"config_error" in answer


async def test_a_front_that_starts_says_so(world: FrontWorld) -> None:
    async with serving(app_of(world), MediaDoor(FakeFleet())) as port:
        assert status(await knock(port, STATIC)) == 503


def entry(call_id: str, kind: str, *, number: int = 1, **data: object) -> JournalEntry:
    return JournalEntry(
        gateway="g",
        segment=1,
        number=number,
        call_id=call_id,
        kind=kind,
        at=1_772_366_400.0,
        data=data,
    )


async def test_a_journal_entry_is_safe_or_tried_again_or_left_out(world: FrontWorld) -> None:
    call = await admitted(world.store)
    assert await take_in_entry(world.context, entry(call.id, "turn", text="hello"))
    [event] = await world.events(call.id)
    assert event.data == {"text": "hello"}
    assert event.at.isoformat() == "2026-03-01T12:00:00+00:00"
    assert isinstance(world.store, InMemoryStore)
    world.store.is_available = False
    assert not await take_in_entry(world.context, entry(call.id, "turn"))
    world.store.is_available = True
    with capture_logs() as lines:
        unstorable = entry(call.id, "stream_ended", number=2, recording_path="a\0b")
        assert await take_in_entry(world.context, unstorable)
    assert "a journal entry was left out" in [line["event"] for line in lines]


async def test_a_fleet_without_gateways_is_not_connected(
    world: FrontWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_HOME", str(tmp_path))
    fleet = GatewayFleet(Settings(_env_file=None), world.context.background)
    assert not fleet.all_connected()
    fleet.start(world.context)
    assert not fleet.all_connected()
    assert fleet.live_calls() == set()
    assert not await fleet.end_call("x", by="api", reason="completed")
    spec = agent_spec(AgentRecord(name="a", kind=AgentKind.MODULE))
    facts = CallFacts(call_id="x", carrier="c", direction="inbound", agent=spec)
    with pytest.raises(DispatchError):
        await fleet.hand_over(0, b"", facts)


def test_a_bot_s_path_is_absolute_for_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = agent_spec(
        AgentRecord(name="a", kind=AgentKind.MODULE, module="bots/my_bot.py:run", revision=3)
    )
    assert spec.module == f"{tmp_path}/bots/my_bot.py:run"
    assert spec.zygote_key == ("a", "module", 3)
    assert AUTH_TOKEN not in repr(spec)
