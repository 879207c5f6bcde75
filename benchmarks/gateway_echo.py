"""What a call costs the gateway, and how late audio comes through it, beside Pipecat's own.

The same callers, the same two cores, one after the other. Processor time is the measured process's
own (``/proc``), as milliseconds per second of call; the echoing worker is another process in ours,
as in production.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks._echo_load import EchoCaller, Result, talk
from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.messages import (
    AgentSpec,
    CallFacts,
    Claim,
    Handover,
    HandoverAnswer,
    Message,
    Reserved,
    decode,
)
from trunkline.settings import Settings

Row = dict[str, object]

OUR_CALLS = int(os.environ.get("BENCH_CALLS", "150"))
PEER_CALLS = 20
TALK_S = float(os.environ.get("BENCH_TALK_S", "6"))
WARM_UP_S = 1.0
LAST_ECHO_S = 1.0
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_AGENT = AgentSpec(name="echo", kind="pipeline", pipeline={})


class Measured:
    """One load on one process."""

    def __init__(self) -> None:
        self.result = Result()
        self.cpu_ms = 0.0
        self.calls = 0

    @property
    def cpu_per_call_second(self) -> float:
        """Milliseconds of processor time for one second of one call."""
        return self.cpu_ms / TALK_S / self.calls


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_MS


async def _load(callers: list[EchoCaller], pid: int, measured: Measured) -> None:
    for caller in callers:
        caller.start()
    await talk(callers, WARM_UP_S)
    measured.result.latencies_ms.clear()
    before_ms = _cpu_ms(pid)
    await talk(callers, TALK_S)
    measured.cpu_ms = _cpu_ms(pid) - before_ms
    measured.calls = len(callers)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + LAST_ECHO_S
    # What is still on the way has no event to wait for.
    while measured.result.lost > 0 and loop.time() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    for caller in callers:
        caller.stop()
    await asyncio.sleep(0.1)


async def _until(is_true: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not is_true():
        if loop.time() > deadline_s:
            raise TimeoutError(what)
        await asyncio.sleep(0.02)


# ours


class _Pool(Channel):
    """Sends every claim to the one echoing worker."""

    def __init__(self, address: str) -> None:
        super().__init__(on_message=self._receive, on_closed=lambda error: None, sender="pool")
        self._address = address

    def _receive(self, message: Message) -> None:
        if isinstance(message, Claim):
            self.send(
                Reserved(
                    request_id=message.request_id,
                    call_id=message.call_id,
                    worker_id="echo",
                    address=self._address,
                )
            )


async def _hand_over(
    front: socket.socket, number: int, measured: Measured, recordings: Path | None
) -> EchoCaller:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller_end = socket.create_connection(listener.getsockname())
        server_end, _ = listener.accept()
    caller_end.setblocking(False)
    _, caller = await loop.create_connection(
        lambda: EchoCaller(number, measured.result, "/ws"), sock=caller_end
    )
    call_id = f"call-{number}"
    call = CallFacts(
        call_id=call_id,
        carrier="twilio",
        direction="inbound",
        agent=_AGENT,
        record=recordings is not None,
        recording_path=None if recordings is None else str(recordings / f"{call_id}.wav"),
    )
    with server_end:
        packet = pack(Handover(handover_id=number, head=caller.request(), facts=call))
        socket.send_fds(front, [packet], [server_end.fileno()])
        answer = await loop.sock_recv(front, 65536)
    ((kind, payload),) = FrameReader().feed(answer)
    message = decode(kind, payload)
    assert isinstance(message, HandoverAnswer)
    assert not message.error, message.error
    await caller.opened
    return caller


async def _ours(calls: int, *, is_full: bool) -> Measured:
    measured = Measured()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(_env_file=None, trunkline_home=home)  # type: ignore[call-arg]
        settings.run_dir.mkdir(mode=0o700)
        address = str(settings.run_dir / "echo.sock")
        environment = {**os.environ, "TRUNKLINE_HOME": str(home), "TRUNKLINE_LOG_LEVEL": "WARNING"}
        options = [] if is_full else ["--no-vad"]
        worker = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "benchmarks._echo_worker", address]
        )
        stack.callback(_end, worker)
        pool = await asyncio.get_running_loop().create_unix_server(
            lambda: _Pool(address), str(settings.pool_socket)
        )
        stack.callback(pool.close)
        gateway = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "trunkline.gateway", *options], env=environment
        )
        stack.callback(_end, gateway)
        await _until(settings.handover_socket(0).exists, "a gateway")
        await _until(Path(address).exists, "a worker")
        front = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        front.connect(str(settings.handover_socket(0)))
        front.setblocking(False)
        recordings = home / "recordings" if is_full else None
        callers = [await _hand_over(front, number, measured, recordings) for number in range(calls)]
        await _load(callers, gateway.pid, measured)
    return measured


# the peer


async def _pipecat(calls: int, *, is_lean: bool) -> Measured:
    measured = Measured()
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "LEAN": "1" if is_lean else ""}
    server = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-W", "ignore", "-m", "benchmarks._pipecat_echo", str(port)],
        env=environment,
    )
    try:
        await _until(lambda: _answers(port), "Pipecat's server", 60.0)
        callers: list[EchoCaller] = []
        for number in range(calls):
            _, caller = await loop.create_connection(
                lambda number=number: EchoCaller(number, measured.result, "/ws"), "127.0.0.1", port
            )
            caller.send_request()
            await caller.opened
            callers.append(caller)
        await _load(callers, server.pid, measured)
    finally:
        _end(server)
    return measured


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


# the table


async def _measure() -> list[Row]:
    relay = await _ours(OUR_CALLS, is_full=False)
    full = await _ours(OUR_CALLS, is_full=True)
    usual = await _pipecat(PEER_CALLS, is_lean=False)
    lean = await _pipecat(PEER_CALLS, is_lean=True)
    usual_name = f"Pipecat FastAPI transport, {PEER_CALLS} calls"
    lean_name = f"{usual_name}, RTVI and turn tracking off"
    rows: list[Row] = []
    for name, ours, budget in (("relay", relay, 2.5), ("relay, VAD, recording", full, 5.0)):
        title = f"gateway {name}, {ours.calls} calls"
        cpu = ours.cpu_per_call_second
        for peer, peer_name in ((usual, usual_name), (lean, lean_name)):
            rows.append(
                _row(f"{title}: CPU", "ms/call-s", cpu, peer.cpu_per_call_second, peer_name, budget)
            )
        p99 = ours.result.percentile(0.99)
        rows.append(
            _row(f"{title}: added p99", "ms", p99, usual.result.percentile(0.99), usual_name, 5.0)
        )
        rows.append(
            _row(f"{title}: lost", "frames", ours.result.lost, usual.result.lost, usual_name, 0)
        )
    return rows


def _row(name: str, unit: str, ours: float, peer: float, peer_name: str, budget: float) -> Row:
    return {
        "row": name,
        "unit": unit,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "peer_name": peer_name,
        "ratio": round(peer / ours, 2) if ours else None,
        "budget": budget,
        "ok": ours <= budget,
    }


def rows() -> list[Row]:
    """Measure; takes about 50 seconds."""
    return uvloop.run(_measure())
