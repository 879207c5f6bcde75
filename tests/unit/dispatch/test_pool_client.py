from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    Claim,
    Forget,
    Message,
    PoolState,
    PoolStateRequest,
    Prepare,
    Prepared,
    Refused,
    Release,
    Reserve,
    Reserved,
)
from trunkline.dispatch.pool_client import PoolClient
from trunkline.errors import ConfigError, DispatchError, WorkerFailed

AGENT = AgentSpec(name="a", kind="module")


class Answering:
    """A server in the pool's place that answers as it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.got: list[Message] = []
        self.channels: list[Channel] = []
        self.answer: Callable[[Message], Message | None] = lambda _: None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._accept, str(self.path)
        )

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for channel in self.channels:
            channel.close()
        self.path.unlink(missing_ok=True)
        await asyncio.sleep(0)

    def _accept(self) -> Channel:
        channel = Channel(
            on_message=lambda message: self._receive(channel, message),
            on_closed=lambda _: None,
            sender="pool",
        )
        self.channels.append(channel)
        return channel

    def _receive(self, channel: Channel, message: Message) -> None:
        self.got.append(message)
        answer = self.answer(message)
        if answer is not None:
            channel.send(answer)


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[PoolClient]:
    async with asyncio.TaskGroup() as group:
        client = PoolClient(path, sender="front")
        running = group.create_task(client.run())
        yield client
        running.cancel()


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answering]:
    monkeypatch.chdir(tmp_path)  # AF_UNIX paths are short
    pool = Answering(Path("pool.sock"))
    await pool.start()
    yield pool
    await pool.stop()


def grant(message: Message) -> Message | None:
    match message:
        case Reserve() | Claim():
            return Reserved(
                request_id=message.request_id,
                call_id=message.call_id,
                worker_id="w1",
                address="w1.sock",
            )
        case Prepare():
            return Prepared(request_id=message.request_id, warnings=["slow"])
        case PoolStateRequest():
            return PoolState(request_id=message.request_id, agents={"a": {"warm": 1}})
        case _:
            return None


async def test_each_request_gets_its_own_answer(pool: Answering) -> None:
    pool.answer = grant
    async with client_of(pool.path) as client:
        answers = await asyncio.gather(*(client.reserve(f"c{n}", AGENT) for n in range(20)))
        assert [answer.call_id for answer in answers] == [f"c{n}" for n in range(20)]
        assert (await client.claim("c1", AGENT, attempt=2)).address == "w1.sock"
        assert await client.prepare(AGENT, check_only=True) == ["slow"]
        assert (await client.state()).agents == {"a": {"warm": 1}}
        await client.release("c1")
        await client.forget("a")
        await eventually(lambda: pool.got[-2:] == [Release(call_id="c1"), Forget(name="a")])


@pytest.mark.parametrize(
    ("code", "error"),
    [("config_error", ConfigError), ("bot_failed", WorkerFailed), ("no_worker", DispatchError)],
)
async def test_a_refusal_is_the_error_of_its_code(
    pool: Answering, code: str, error: type[Exception]
) -> None:
    pool.answer = lambda message: (
        Refused(request_id=message.request_id, code=code, reason="because")
        if isinstance(message, Reserve)
        else None
    )
    async with client_of(pool.path) as client:
        with pytest.raises(error, match="because"):
            await client.reserve("c1", AGENT)


async def test_a_request_under_way_is_sent_again_to_the_next_pool(pool: Answering) -> None:
    async with client_of(pool.path) as client, asyncio.TaskGroup() as group:
        asking = group.create_task(client.reserve("c1", AGENT))
        await eventually(lambda: any(isinstance(m, Reserve) for m in pool.got))
        await pool.stop()
        pool.answer = grant
        await pool.start()
        assert (await asking).worker_id == "w1"
        assert client.is_connected


async def test_a_pool_that_does_not_answer_is_not_waited_for(pool: Answering) -> None:
    async with client_of(pool.path) as client:
        with pytest.raises(DispatchError, match=r"did not answer within 0\.05 s"):
            await client.state(timeout_s=0.05)


async def test_a_late_or_foreign_answer_changes_nothing(pool: Answering) -> None:
    pool.answer = lambda message: (
        Prepared(request_id=999) if isinstance(message, Reserve) else grant(message)
    )
    async with client_of(pool.path) as client:
        with pytest.raises(DispatchError):
            await client.reserve("c1", AGENT, timeout_s=0.05)
        assert (await client.claim("c1", AGENT)).worker_id == "w1"
