"""What a hostile or broken carrier may send, and what a broken front may."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.gateway.conftest import Stage
from tests.integration.gateway.peers import (
    HEAD,
    Worker,
    accept_pair,
    call,
    facts,
)
from tests.support.descriptors import descriptors_of
from tests.support.waiting import eventually
from trunkline.dispatch.channel import pack
from trunkline.dispatch.messages import Handover, Heartbeat

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MEGABYTE = 1 << 20
START = (
    b'{"event":"start","streamSid":"MZ1",'
    b'"start":{"accountSid":"AC1","callSid":"CA1","streamSid":"MZ1"}}'
)


class RawCaller:
    """A socket behind an accepted upgrade, to send anything on."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def close_code(self) -> int | None:
        """Code of the gateway's close frame; None when it went without one."""
        loop = asyncio.get_running_loop()
        received = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                while chunk := await loop.sock_recv(self.sock, 65536):
                    received += chunk
        _, _, frames = (
            received.partition(b"\r\n\r\n") if received.startswith(b"HTTP") else (0, 0, received)
        )
        at = 0
        while at + 4 <= len(frames):
            kind, length = frames[at] & 0x0F, frames[at + 1] & 0x7F
            if kind == 8:
                return int.from_bytes(frames[at + 2 : at + 4], "big")
            if length == 126:
                length = int.from_bytes(frames[at + 2 : at + 4], "big") + 2
            at += 2 + length
        return None


async def raw_call(stage: Stage, call_id: str, extra: bytes = b"", **changes: object) -> RawCaller:
    caller_end, server_end = await accept_pair()
    caller_end.setblocking(False)
    with server_end:
        answer = await stage.front.hand_over(
            facts(call_id, **changes), server_end, HEAD % KEY + extra
        )
    assert answer.error == ""
    return RawCaller(caller_end)


def frame(first: int, payload: bytes) -> bytes:
    """A masked client frame with any first byte; the mask is zero."""
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        length = b"\xfe" + len(payload).to_bytes(2, "big")
    else:
        length = b"\xff" + len(payload).to_bytes(8, "big")
    return bytes([first]) + length + bytes(4) + payload


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(0xC1, b"{}"), 1002, id="reserved bit 1"),
        pytest.param(frame(0x91, b"{}"), 1002, id="reserved bit 3"),
        pytest.param(frame(0x80, b"{}"), 1002, id="continuation of nothing"),
        pytest.param(frame(0x01, b"{") + frame(0x81, b"}"), 1002, id="message inside a message"),
        pytest.param(frame(0x81, b'{"event":"\xff"}'), 1007, id="text that is not UTF-8"),
        pytest.param(frame(0x01, b'"\xff') + frame(0x80, b'"'), 1007, id="fragments not UTF-8"),
        pytest.param(frame(0x81, b"garbage"), 1007, id="not JSON"),
        pytest.param(frame(0x81, b"[1]"), 1007, id="not an object"),
        pytest.param(frame(0x83, b"?"), 1002, id="unknown opcode"),
        pytest.param(b"\x81\x02{}", 1002, id="not masked"),
        pytest.param(os.urandom(2000), None, id="noise"),
    ],
)
async def test_nonsense_closes_that_call_only(stage: Stage, sent: bytes, code: int | None) -> None:
    bad = await raw_call(stage, f"bad-{stage.call_id}")
    await bad.send(sent)
    found = await bad.close_code()
    assert code is None or found == code
    bad.sock.close()
    assert (await stage.front.ended(f"bad-{stage.call_id}"))["how"] == "never_started"
    assert "Traceback" not in stage.gateway.log()
    async with call(stage.front, facts(f"next-{stage.call_id}")) as caller:
        await caller.start()
        await caller.talk(bytes(320))
        await eventually(lambda: len(caller.heard) == 320, what="an echo of the next call")


async def test_bytes_that_came_with_the_head_are_not_lost(stage: Stage) -> None:
    caller = await raw_call(stage, stage.call_id, frame(0x81, START))
    assert (await stage.front.wait_for(stage.call_id, "stream_started")).data["stream_id"] == "MZ1"
    caller.sock.close()
    assert (await stage.front.ended(stage.call_id))["how"] == "lost"


def memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("fragments", [1, 4000])
async def test_200_megabytes_in_one_message_cost_no_memory(
    own_stage: Stage, fragments: int
) -> None:
    stage = own_stage
    bad = await raw_call(stage, f"bad-{stage.call_id}")
    before_kb = memory_kb(stage.gateway.pid)
    part = bytes(200 * MEGABYTE // fragments)
    code = asyncio.get_running_loop().create_task(bad.close_code())
    with suppress(ConnectionError):
        for index in range(fragments):
            first = 0x81 if fragments == 1 else 0x01 if index == 0 else 0x00
            await bad.send(frame(first, part))
    # A reset may overtake the close frame when megabytes are still on the way.
    assert await code in (1009, None)
    bad.sock.close()
    await stage.front.ended(f"bad-{stage.call_id}")
    assert memory_kb(stage.gateway.pid) - before_kb < 20_000
    assert "Traceback" not in stage.gateway.log()


async def test_a_peer_that_stops_reading_is_dropped(stage: Stage) -> None:
    stage.pool.new_worker = lambda: Worker(echoes=False)
    caller_end, server_end = await accept_pair()
    # Small buffers, so that the kernel does not read in the peer's place.
    caller_end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    caller_end.setblocking(False)
    with server_end:
        await stage.front.hand_over(
            facts(f"deaf-{stage.call_id}"), server_end, HEAD % KEY + frame(0x81, START)
        )
    worker = await stage.pool.worker(f"deaf-{stage.call_id}")
    worker.say(1, bytes(8 * 60_000))
    ended = await stage.front.ended(f"deaf-{stage.call_id}", within_s=30)
    assert ended["how"] == "lost"
    assert "peer does not read" in stage.gateway.log()
    caller_end.close()


async def test_packets_that_are_no_hand_over(own_stage: Stage) -> None:
    stage = own_stage
    caller_end, server_end = await accept_pair()
    whole = pack(Handover(handover_id=1, head=HEAD % KEY, facts=facts(stage.call_id)))
    before = len(descriptors_of(stage.gateway.pid))
    descriptor = server_end.fileno()
    for packet, descriptors in [
        (b"nonsense", [descriptor]),
        (whole[:-1], [descriptor]),
        (whole, []),
        (whole, [descriptor, descriptor]),
        (whole, [descriptor] * 9),
        (pack(Heartbeat()), [descriptor]),
        (
            pack(Handover(version=99, handover_id=1, head=b"", facts=facts(stage.call_id))),
            [descriptor],
        ),
    ]:
        answer = await stage.front.send_packet(packet, descriptors)
        assert answer.error == "invalid_handover"
    assert len(descriptors_of(stage.gateway.pid)) == before
    answer = await stage.front.hand_over(
        facts(stage.call_id, carrier="nobody"), server_end, HEAD % KEY
    )
    assert answer.error == "unknown_carrier"
    answer = await stage.front.hand_over(
        facts(stage.call_id), server_end, b"GET / HTTP/1.1\r\n\r\n"
    )
    assert answer.error == "protocol_error"
    caller_end.close()
    server_end.close()
    await eventually(lambda: len(descriptors_of(stage.gateway.pid)) == before, what="no leak")


async def test_fifty_calls_leave_no_descriptor(own_stage: Stage) -> None:
    stage = own_stage
    async with call(stage.front, facts(f"first-{stage.call_id}")) as caller:
        await caller.start()
        await stage.pool.worker(f"first-{stage.call_id}")
        await caller.stop()
        await stage.front.ended(f"first-{stage.call_id}")
    before = len(descriptors_of(stage.gateway.pid))

    async def one(number: int) -> None:
        async with call(stage.front, facts(f"{stage.call_id}-{number}")) as caller:
            await caller.start()
            await stage.pool.worker(f"{stage.call_id}-{number}")
            await caller.send_audio(bytes(160))
            if number % 3 == 0:
                await caller.stop()
            elif number % 3 == 1:
                caller.websocket.transport.abort()
            await caller.websocket.close()
            await stage.front.ended(f"{stage.call_id}-{number}")

    for batch in range(0, 50, 10):
        for number in range(batch, batch + 10):
            await one(number)
    await eventually(lambda: len(descriptors_of(stage.gateway.pid)) <= before, what="all closed")
