from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType

import pytest

from trunkline.errors import Conflict, InvalidRequest, UnknownAgent
from trunkline.store import AgentKind, AgentRecord, Overflow, OverflowAction, Store

FRONT_DESK = AgentRecord(
    name="front-desk",
    kind=AgentKind.PIPELINE,
    pipeline=MappingProxyType({"prompt": "Be kind.", "llm": {"name": "offline"}, "words": ["a"]}),
    present_as="other",
    overflow=Overflow(action=OverflowAction.FORWARD, message="Wait.", number="+14155550199"),
    max_concurrent_calls=3,
    max_duration_s=60,
    silence_timeout_s=5,
    record=False,
    caller_lookup=True,
    warm=0,
    max_loop_block_s=2.5,
)


async def test_an_agent_comes_back_as_it_was_created(store: Store) -> None:
    created = await store.create_agent(FRONT_DESK)

    assert created.revision == 1
    assert created.created_at is not None
    assert created.created_at == created.updated_at
    assert created.created_at.utcoffset() is not None
    assert await store.fetch_agent("front-desk") == created
    own = replace(created, created_at=None, updated_at=None)
    assert own == replace(FRONT_DESK, pipeline=dict(FRONT_DESK.pipeline or {}))


async def test_a_module_agent_has_no_pipeline(store: Store) -> None:
    await store.create_agent(AgentRecord(name="b", kind=AgentKind.MODULE, module="bots/b.py:bot"))

    agent = await store.fetch_agent("b")

    assert agent is not None
    assert (agent.module, agent.pipeline, agent.warm) == ("bots/b.py:bot", None, None)
    assert agent.overflow == Overflow()


async def test_a_name_is_given_once(store: Store) -> None:
    await store.create_agent(FRONT_DESK)

    with pytest.raises(Conflict, match="front-desk"):
        await store.create_agent(replace(FRONT_DESK, enabled=False))

    agent = await store.fetch_agent("front-desk")
    assert agent is not None
    assert agent.enabled


async def test_of_many_who_create_one_name_one_succeeds(store: Store) -> None:
    results = await asyncio.gather(
        *(store.create_agent(FRONT_DESK) for _ in range(20)), return_exceptions=True
    )

    assert sum(isinstance(result, AgentRecord) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 19


async def test_an_update_replaces_everything_and_counts(store: Store) -> None:
    created = await store.create_agent(FRONT_DESK)

    updated = await store.update_agent(AgentRecord(name="front-desk", kind=AgentKind.MODULE))
    again = await store.update_agent(replace(updated, revision=70, module="x.py"))

    assert (updated.revision, again.revision) == (2, 3)
    assert (updated.pipeline, updated.overflow) == (None, Overflow())
    assert again.created_at == created.created_at
    assert again.updated_at is not None
    assert created.updated_at is not None
    assert again.updated_at >= created.updated_at
    assert await store.fetch_agent("front-desk") == again


async def test_simultaneous_updates_are_all_counted(store: Store) -> None:
    await store.create_agent(FRONT_DESK)

    updates = await asyncio.gather(*(store.update_agent(FRONT_DESK) for _ in range(15)))

    assert sorted(agent.revision for agent in updates) == list(range(2, 17))


async def test_an_agent_that_is_not_there(store: Store) -> None:
    with pytest.raises(UnknownAgent):
        await store.update_agent(FRONT_DESK)
    with pytest.raises(UnknownAgent):
        await store.delete_agent("front-desk")
    assert await store.fetch_agent("front-desk") is None


async def test_a_deleted_agent_is_gone_and_its_name_free(store: Store) -> None:
    await store.create_agent(FRONT_DESK)

    await store.delete_agent("front-desk")

    assert await store.fetch_agents() == []
    assert (await store.create_agent(FRONT_DESK)).revision == 1


async def test_agents_are_listed_by_name(store: Store) -> None:
    for name in ("b", "a-z", "ab", "a"):
        await store.create_agent(replace(FRONT_DESK, name=name))

    assert [agent.name for agent in await store.fetch_agents()] == ["a", "a-z", "ab", "b"]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_a_name_that_no_database_holds_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.fetch_agent(name)
    with pytest.raises(InvalidRequest):
        await store.create_agent(replace(FRONT_DESK, name=name))
    with pytest.raises(InvalidRequest):
        await store.delete_agent(name)


async def test_what_the_caller_holds_is_not_what_is_stored(store: Store) -> None:
    settings: dict[str, object] = {"words": ["a"]}
    created = await store.create_agent(replace(FRONT_DESK, pipeline=settings))

    settings["words"] = None
    assert isinstance(created.pipeline, dict)
    created.pipeline["words"] = None

    agent = await store.fetch_agent("front-desk")
    assert agent is not None
    assert agent.pipeline == {"words": ["a"]}
