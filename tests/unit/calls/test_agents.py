from __future__ import annotations

import pytest

from tests.support.front import FrontWorld
from trunkline.calls.agents import check_agent, create_agent, delete_agent, update_agent
from trunkline.errors import (
    ConfigError,
    Conflict,
    DispatchError,
    InvalidNumber,
    InvalidRequest,
    UnknownAgent,
    UnknownCarrier,
)
from trunkline.store import AgentKind, AgentRecord, Overflow, OverflowAction


def agent(**changes: object) -> AgentRecord:
    values = {"name": "desk", "kind": AgentKind.MODULE, "module": "bot.py", **changes}
    return AgentRecord(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Desk", "", "-desk", "a/b", "a" * 64, "desk\n"])
def test_a_name_stands_in_urls(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_agent(agent(name=name))
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": AgentKind.PIPELINE},
        {"kind": AgentKind.PIPELINE, "pipeline": {}},
        {"module": None},
        {"pipeline": {}},
        {"overflow": Overflow(action=OverflowAction.MESSAGE)},
    ],
)
def test_an_agent_is_one_kind_and_whole(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        check_agent(agent(**changes))


def test_the_overflow_number_is_normalised() -> None:
    checked = check_agent(
        agent(overflow=Overflow(action=OverflowAction.FORWARD, number="+1 (415) 555-0111"))
    )
    assert checked.overflow.number == "+14155550111"
    with pytest.raises(InvalidNumber):
        check_agent(agent(overflow=Overflow(action=OverflowAction.FORWARD, number="0415")))


def test_present_as_names_a_carrier() -> None:
    with pytest.raises(UnknownCarrier):
        check_agent(agent(present_as="acme"))


async def test_an_agent_is_loaded_before_it_is_saved(world: FrontWorld) -> None:
    world.dispatcher.warnings = ["it starts threads"]
    saved, warnings = await create_agent(world.context, agent())
    assert saved.revision == 1
    assert warnings == ["it starts threads"]
    assert world.dispatcher.prepared == [("desk", True), ("desk", False)]


@pytest.mark.parametrize("failure", [ConfigError("set OPENAI_API_KEY"), DispatchError("away")])
async def test_one_that_does_not_load_is_not_saved(world: FrontWorld, failure: Exception) -> None:
    world.dispatcher.failure = failure
    with pytest.raises(type(failure)):
        await create_agent(world.context, agent())
    assert await world.store.fetch_agent("desk") is None


async def test_a_second_one_of_that_name_is_a_conflict(world: FrontWorld) -> None:
    await create_agent(world.context, agent())
    with pytest.raises(Conflict):
        await create_agent(world.context, agent())


async def test_an_update_counts_the_revision(world: FrontWorld) -> None:
    await create_agent(world.context, agent())
    saved, _ = await update_agent(world.context, agent(record=False))
    assert (saved.revision, saved.record) == (2, False)


async def test_disabling_works_even_when_dispatch_is_away(world: FrontWorld) -> None:
    await create_agent(world.context, agent())
    world.dispatcher.failure = DispatchError("the pool is away")
    saved, warnings = await update_agent(world.context, agent(enabled=False))
    assert not saved.enabled
    assert warnings == []


async def test_a_disabled_and_a_deleted_agent_keep_no_workers(world: FrontWorld) -> None:
    await create_agent(world.context, agent())
    await update_agent(world.context, agent(enabled=False))
    await delete_agent(world.context, "desk")
    assert world.dispatcher.forgotten == ["desk", "desk"]
    assert await world.store.fetch_agent("desk") is None


async def test_what_is_not_there_cannot_be_changed(world: FrontWorld) -> None:
    with pytest.raises(UnknownAgent):
        await update_agent(world.context, agent())
    with pytest.raises(UnknownAgent):
        await delete_agent(world.context, "desk")
