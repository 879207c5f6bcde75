from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import AgentSpec, Claim, Message, Refused, Reserved
from trunkline.errors import DispatchError, WorkerFailed
from trunkline.gateway import workers
from trunkline.gateway.workers import PoolClient, connect_worker

AGENT = AgentSpec(name="front-desk", kind="pipeline")


class Pool:
    """A pool that answers claims as the test decides."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claims: list[Claim] = []
        self.channels: list[Channel] = []
        self.answer: Callable[[Claim], Message | None] = lambda claim: Reserved(
            request_id=claim.request_id, call_id=claim.call_id, worker_id="w", address="a"
        )
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connect, str(self.path))

    def _connect(self) -> Channel:
        channel = Channel(on_message=lambda m: self._receive(channel, m), on_closed=lambda e: None)
        self.channels.append(channel)
        return channel

    def _receive(self, channel: Channel, message: Message) -> None:
        if isinstance(message, Claim):
            self.claims.append(message)
            answer = self.answer(message)
            if answer is not None:
                channel.send(answer)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for channel in self.channels:
            channel.close()


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(tmp_path / "pool.sock")
    await pool.open()
    yield pool
    pool.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[PoolClient]:
    client = PoolClient(tmp_path / "pool.sock", "gateway-0")
    yield client
    client.close()


async def test_a_claim_is_answered(pool: Pool, client: PoolClient) -> None:
    reserved = await client.claim("call-1", AGENT, 2)
    assert (reserved.call_id, reserved.worker_id) == ("call-1", "w")
    assert (pool.claims[0].call_id, pool.claims[0].attempt) == ("call-1", 2)


async def test_claims_share_a_connection_and_answers_find_their_claim(
    pool: Pool, client: PoolClient
) -> None:
    found = await asyncio.gather(*(client.claim(f"call-{n}", AGENT, 1) for n in range(20)))
    assert [reserved.call_id for reserved in found] == [f"call-{n}" for n in range(20)]
    assert len(pool.channels) == 1


async def test_a_refusal_is_an_error(pool: Pool, client: PoolClient) -> None:
    pool.answer = lambda claim: Refused(
        request_id=claim.request_id, code="no_worker", reason="all are busy"
    )
    with pytest.raises(DispatchError, match="all are busy"):
        await client.claim("call-1", AGENT, 1)


async def test_a_pool_that_goes_away_fails_the_claim_and_comes_back_for_the_next(
    pool: Pool, client: PoolClient
) -> None:
    answer, pool.answer = pool.answer, lambda claim: None
    waiting = asyncio.gather(client.claim("call-1", AGENT, 1), return_exceptions=True)
    await eventually(lambda: pool.claims, what="the claim")
    pool.channels[0].close()
    (failure,) = await waiting
    assert isinstance(failure, DispatchError)
    pool.answer = answer
    assert (await client.claim("call-2", AGENT, 1)).call_id == "call-2"
    assert len(pool.channels) == 2


async def test_no_pool_is_an_error(client: PoolClient) -> None:
    with pytest.raises(DispatchError, match="cannot be reached"):
        await client.claim("call-1", AGENT, 1)


async def test_a_pool_that_never_answers_is_given_up(
    pool: Pool, client: PoolClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CLAIM_TIMEOUT_S", 0.05)
    pool.answer = lambda claim: None
    with pytest.raises(DispatchError, match="in time"):
        await client.claim("call-1", AGENT, 1)


async def test_a_worker_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed):
        await connect_worker(
            str(tmp_path / "nobody.sock"),
            sender="gateway-0",
            on_message=lambda message: None,
            on_audio=lambda payload: None,
            on_closed=lambda error: None,
        )
