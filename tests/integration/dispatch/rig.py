"""A pool in this process with real zygotes and workers below it, and a gateway's end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.integration.dispatch.trivial_agents import LOADER
from tests.support.waiting import eventually
from trunkline.audio import MediaFormat
from trunkline.audio.format import Encoding
from trunkline.dispatch.channel import Channel, split_audio_out
from trunkline.dispatch.messages import (
    AgentSpec,
    CallFacts,
    CallStarted,
    EndCall,
    Heartbeat,
    Message,
    Reserved,
)
from trunkline.dispatch.pool import serve_pool
from trunkline.dispatch.pool_client import PoolClient
from trunkline.dispatch.warm import BackOff
from trunkline.dispatch.zygotes import ZygoteOptions

ROOT = Path(__file__).resolve().parents[3]

ECHO = """
import asyncio
import os
from trunkline.dispatch.messages import BotStarted, EndCall, SessionEnding

async def bot(session):
    over = asyncio.Event()
    def receive(message):
        if isinstance(message, SessionEnding):
            over.set()
    session.on_message(receive)
    session.on_audio(lambda audio: session.send_audio_out(1, 0, audio))
    session.send(EndCall(reason=str(os.getpid())))
    session.send(BotStarted())
    await over.wait()
"""
"""A bot that tells its process id and that it started, and echoes until its call ends."""


def is_alive(pid: int) -> bool:
    """Say whether process ``pid`` runs: a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_of(run_dir: Path) -> list[int]:
    """Return the processes that carry ``run_dir`` in their environment: all of this rig's."""
    mark = f"TRUNKLINE_TEST_RIG={run_dir}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and is_alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def sockets_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.sock"))


@dataclass
class PoolRig:
    run_dir: Path
    modules: Path
    client: PoolClient
    stop: asyncio.Event
    options: ZygoteOptions

    @classmethod
    @asynccontextmanager
    async def started(
        cls,
        run_dir: Path,
        modules: Path,
        *,
        warm_workers: int = 1,
        ready_s: float = 20.0,
        fork_s: float = 5.0,
        back_off: BackOff | None = None,
        loader: str = LOADER,
    ) -> AsyncIterator[PoolRig]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "TRUNKLINE_TEST_RIG": str(run_dir),
            "SERVICE_API_KEY": "a-secret-value",
        }
        options = ZygoteOptions(
            run_dir=run_dir,
            environment=environment,
            loader=loader,
            ready_s=ready_s,
            fork_s=fork_s,
        )
        address = run_dir / "pool.sock"
        stop, listening = asyncio.Event(), asyncio.Event()
        client = PoolClient(address, sender="test")
        async with asyncio.TaskGroup() as group:
            pool = group.create_task(
                serve_pool(
                    options,
                    address,
                    warm_workers=warm_workers,
                    stop=stop,
                    on_listening=listening.set,
                    new_back_off=lambda: replace(back_off) if back_off else BackOff(),
                )
            )
            running = group.create_task(client.run())
            await listening.wait()
            try:
                yield cls(run_dir, modules, client, stop, options)
            finally:
                running.cancel()
                stop.set()
                await pool
                await eventually(
                    lambda: not processes_of(run_dir),
                    what="zygotes and workers end with their pool",
                )
                assert not sockets_in(run_dir)

    def agent(self, source: str = ECHO, *, name: str = "echo", **fields: object) -> AgentSpec:
        """Return an agent whose module has ``source``."""
        path = self.modules / f"{name}.py"
        path.write_text(source)
        return AgentSpec(name=name, kind="module", module=str(path), **fields)  # type: ignore[arg-type]

    async def figures(self, name: str = "echo") -> dict[str, int]:
        return (await self.client.state()).agents.get(name, {})

    async def until(self, name: str = "echo", **wanted: int) -> dict[str, int]:
        """Wait until the pool's figures of an agent are ``wanted``."""
        found: dict[str, int] = {}
        async with asyncio.timeout(20):
            while not found or any(found[key] != value for key, value in wanted.items()):
                await asyncio.sleep(0.005)
                found = await self.figures(name)
        return found


@dataclass
class GatewayEnd:
    """What a gateway does with a claimed worker."""

    messages: list[Message] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    is_closed: bool = False
    error: Exception | None = None
    channel: Channel = field(init=False)

    @classmethod
    async def connected(
        cls, worker: Reserved, agent: AgentSpec, *, start: bool = True
    ) -> GatewayEnd:
        end = cls()
        end.channel = Channel(
            on_message=end.messages.append,
            on_audio=lambda payload: end.audio.append(split_audio_out(payload)[2]),
            on_closed=end._close,
            sender="gateway",
        )
        await asyncio.get_running_loop().create_unix_connection(lambda: end.channel, worker.address)
        if start:
            end.channel.send(call_started(worker.call_id, agent))
        return end

    def _close(self, error: Exception | None) -> None:
        self.is_closed, self.error = True, error

    def got(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]

    def beats(self) -> list[Heartbeat]:
        return [message for message in self.messages if isinstance(message, Heartbeat)]

    async def wait_for(self, kind: type[Message], *, within_s: float = 10.0) -> Message:
        await eventually(lambda: self.got(kind), within_s=within_s, what=kind.__name__)
        return self.got(kind)[-1]

    @property
    def pid(self) -> int:
        """The worker's process, as the bot told it."""
        told = self.got(EndCall)[0]
        assert isinstance(told, EndCall)
        return int(told.reason)

    async def wait_closed(self, *, within_s: float = 15.0) -> None:
        await eventually(lambda: self.is_closed, within_s=within_s, what="the channel's end")


def call_started(call_id: str, agent: AgentSpec) -> CallStarted:
    pcmu = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
    return CallStarted(
        facts=CallFacts(call_id=call_id, carrier="test", direction="inbound", agent=agent),
        stream_id="stream-1",
        carrier_call_id="carrier-1",
        received_format=pcmu,
        sent_format=pcmu,
    )
