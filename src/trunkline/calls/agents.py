"""Agents: saved only when they can answer a call."""

from __future__ import annotations

import re
from dataclasses import replace

import structlog

from trunkline import carriers
from trunkline.calls.ports import Context
from trunkline.errors import ConfigError, DispatchError, InvalidRequest, UnknownAgent
from trunkline.store.records import AgentKind, AgentRecord, OverflowAction
from trunkline.telephony.numbers import parse_e164

__all__ = ["check_agent", "create_agent", "delete_agent", "update_agent"]

log = structlog.get_logger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PREPARE_TIMEOUT_S = 90.0  # a module may import models for tens of seconds


def check_agent(agent: AgentRecord) -> AgentRecord:
    """The agent with numbers normalised.

    Raises:
        InvalidRequest: names the field.
    """
    if not NAME.fullmatch(agent.name):
        raise InvalidRequest(
            "name must be lower-case letters, digits and hyphens, at most 63,"
            " since it stands in URLs",
            field="name",
        )
    if agent.kind is AgentKind.PIPELINE and (agent.pipeline is None or agent.module is not None):
        raise InvalidRequest(
            "an agent of kind pipeline has pipeline and no module", field="pipeline"
        )
    if agent.kind is AgentKind.MODULE and (not agent.module or agent.pipeline is not None):
        raise InvalidRequest("an agent of kind module has module and no pipeline", field="module")
    if agent.present_as is not None:
        carriers.get(agent.present_as)
    overflow = agent.overflow
    if overflow.action is OverflowAction.MESSAGE and not overflow.message:
        raise InvalidRequest("overflow needs a message", field="overflow.message")
    if overflow.action is OverflowAction.FORWARD:
        number = parse_e164(overflow.number or "", field="overflow.number")
        return replace(agent, overflow=replace(overflow, number=number))
    return agent


async def create_agent(context: Context, agent: AgentRecord) -> tuple[AgentRecord, list[str]]:
    """Check that the agent loads, save it, have it kept warm; returns it with warnings.

    Raises:
        InvalidRequest, ConfigError: a field, a missing key, an unknown service, a module that does
            not load.
        Conflict: the name is taken.
    """
    agent = check_agent(agent)
    warnings = await context.dispatcher.prepare(agent, check_only=True, timeout_s=PREPARE_TIMEOUT_S)
    saved = await context.store.create_agent(agent)
    await _keep_warm(context, saved)
    return saved, warnings


async def update_agent(context: Context, agent: AgentRecord) -> tuple[AgentRecord, list[str]]:
    """The same for an agent that is there.

    Calls that are under way go on with what they started with.
    """
    if await context.store.fetch_agent(agent.name) is None:
        raise UnknownAgent(agent.name)
    agent = check_agent(agent)
    warnings = (
        await context.dispatcher.prepare(agent, check_only=True, timeout_s=PREPARE_TIMEOUT_S)
        if agent.enabled
        else []
    )
    saved = await context.store.update_agent(agent)
    await _keep_warm(context, saved)
    return saved, warnings


async def delete_agent(context: Context, name: str) -> None:
    """Delete the agent; raises ``UnknownAgent``."""
    agent = await context.store.fetch_agent(name)
    if agent is None:
        raise UnknownAgent(name)
    await context.store.delete_agent(name)
    await _keep_warm(context, replace(agent, enabled=False, revision=agent.revision + 1))


async def _keep_warm(context: Context, agent: AgentRecord) -> None:
    """Tell dispatch about the new revision; a disabled agent keeps no warm workers.

    What is stored stays, whatever dispatch says: a call that finds no warm worker starts a cold
    one.
    """
    try:
        if agent.enabled:
            await context.dispatcher.prepare(agent, check_only=False, timeout_s=PREPARE_TIMEOUT_S)
        else:
            await context.dispatcher.forget(agent.name)
    except (ConfigError, DispatchError) as error:
        log.warning("agent is not kept warm", agent=agent.name, code=error.code)
