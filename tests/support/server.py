"""A whole server (``trunkline serve``) as a child process, and the simulated Twilio beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.support.waiting import eventually
from trunkline.bots.offline.speech import Synthesizer
from trunkline.simulator.caller import Caller, Step, prepare
from trunkline.simulator.contract import CallReport, Ring, Setup
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.twilio import SIMULATOR
from trunkline.simulator.twilio.service import TwilioService

START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)


class TrunklineServer:
    """The running server. Requests go through ``api``, which holds an admin's key."""

    def __init__(
        self, *, home: Path, port: int, process: asyncio.subprocess.Process, log: Path
    ) -> None:
        self.home = home
        self.port = port
        self.process = process
        self.log = log
        self.base_url = f"http://127.0.0.1:{port}"
        self.api = httpx.AsyncClient(base_url=self.base_url, timeout=60.0)

    def log_lines(self, text: str) -> list[str]:
        """Lines of the server's log that contain ``text``."""
        return [line for line in self.log.read_text().splitlines() if text in line]

    def children(self, *command: str) -> list[int]:
        """Processes of this server whose command line contains all of ``command``."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            is_ours = f"TRUNKLINE_HOME={self.home}".encode() in environment.split(b"\0")
            if is_ours and all(part.encode() in words for part in command):
                found.append(int(entry.name))
        return found

    async def create_agent(self, name: str, **fields: object) -> dict[str, object]:
        """Save an agent."""
        answer = await self.api.post("/api/agents", json={"name": name, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def calls(self, agent: str) -> list[dict[str, object]]:
        """Records of an agent's calls, newest first."""
        answer = await self.api.get("/api/calls", params={"agent_name": agent})
        assert answer.status_code == 200, answer.text
        return answer.json()["calls"]

    async def only_call(self, agent: str) -> dict[str, object]:
        """The record of the one call that the agent had."""
        calls = await self.calls(agent)
        assert len(calls) == 1, calls
        return calls[0]

    async def slots_in_use(self) -> int:
        """Calls that hold a slot at the carrier."""
        answer = await self.api.get("/metrics")
        lines = answer.text.splitlines()
        prefix = 'trunkline_slots_in_use{scope="carrier:twilio"}'
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(prefix))

    async def all_slots_are_free(self, *, within_s: float = 20.0) -> None:
        """Wait until no call holds a slot."""
        async with asyncio.timeout(within_s):
            while await self.slots_in_use():
                await asyncio.sleep(0.05)

    async def closed_call(self, agent: str, *, within_s: float = 20.0) -> dict[str, object]:
        """The agent's one call, once its record is closed and its stream's figures are in."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while True:
            call = await self.only_call(agent)
            if call["ended_at"] is not None and (call["stats"] or not call["stream_started_at"]):
                return call
            assert loop.time() < deadline_s, f"the call is not closed: {call}"
            await asyncio.sleep(0.05)

    async def turns(self, call_id: object) -> list[dict[str, object]]:
        """The transcript."""
        answer = await self.api.get(f"/api/calls/{call_id}/transcript")
        assert answer.status_code == 200, answer.text
        return answer.json()["turns"]

    async def stop(self) -> int:
        """End the server: SIGTERM drains; one that does not end is told again, then killed."""
        await self.api.aclose()
        for number in SHUTDOWN_SIGNALS:
            if self.process.returncode is not None:
                break
            self.process.send_signal(number)
            try:
                async with asyncio.timeout(STOP_WITHIN_S / 2):
                    await self.process.wait()
            except TimeoutError:
                continue
        return self.process.returncode or 0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def own_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The test's environment without any Trunkline or carrier setting, and with ``extra``."""
    private = ("TRUNKLINE_", "TWILIO_", "PUBLIC_BASE_URL", "DATABASE_URL", "TELEPHONY_PROVIDER")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    return {**kept, **extra}


@asynccontextmanager
async def running_server(
    home: Path, environment: Mapping[str, str], *, arguments: Sequence[str] = ()
) -> AsyncIterator[TrunklineServer]:
    """Start ``trunkline serve`` with a fresh home and an admin's key; stop it in the end."""
    port = free_port()
    settings = own_environment(
        {
            "TRUNKLINE_HOME": str(home),
            "TRUNKLINE_PORT": str(port),
            "TRUNKLINE_LOG_FORMAT": "json",
            "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
            **environment,
        }
    )
    log = home.parent / f"{home.name}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.cli", "serve", *arguments,
            cwd=home.parent, env=settings, stdout=file, stderr=file,
        )  # fmt: skip
    server = TrunklineServer(home=home, port=port, process=process, log=log)
    try:
        await _wait_until_ready(server)
        server.api.headers["Authorization"] = f"Bearer {await _create_key(home, settings)}"
        yield server
    finally:
        await server.stop()


async def _wait_until_ready(server: TrunklineServer) -> None:
    deadline_s = asyncio.get_running_loop().time() + START_WITHIN_S
    while True:
        assert server.process.returncode is None, server.log.read_text()[-4000:]
        try:
            if (await server.api.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert asyncio.get_running_loop().time() < deadline_s, server.log.read_text()[-4000:]
        await asyncio.sleep(0.05)


async def _create_key(home: Path, settings: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trunkline.cli", "keys", "create", "tests", "--json",
        cwd=home.parent, env=dict(settings),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return str(httpx.Response(200, content=out).json()["key"])


class World:
    """A server and a Twilio that ring each other."""

    def __init__(self, server: TrunklineServer, twilio: TwilioService) -> None:
        self.server = server
        self.twilio = twilio

    async def ring(
        self,
        agent: str,
        steps: Sequence[Step],
        *,
        faults: Sequence[Fault] = (),
        markup: str | None = None,
        **ring: object,
    ) -> CallReport:
        """Call the agent's number and return when the call is over."""
        caller = Caller(prepare(steps, Synthesizer()))
        return await self.twilio.ring(
            Ring(
                webhook_url=f"{self.server.base_url}/telephony/twilio/inbound/{agent}",
                caller=caller,
                faults=Faults(wanted=frozenset(faults)),
                markup=markup,
                **ring,
            )
        )


@asynccontextmanager
async def running_world(
    home: Path, environment: Mapping[str, str] | None = None, *, arguments: Sequence[str] = ()
) -> AsyncIterator[World]:
    """Twilio's stand-in, and a server that takes it for Twilio."""
    async with SIMULATOR.open(Setup()) as twilio:
        merged = {**twilio.environment, **(environment or {})}
        async with running_server(home, merged, arguments=arguments) as server:
            yield World(server, twilio)


async def process_is_gone(pid: int) -> None:
    """Wait until a process has ended."""
    await eventually(
        lambda: not Path(f"/proc/{pid}").exists(), within_s=30, what=f"the end of process {pid}"
    )
