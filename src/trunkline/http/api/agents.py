"""``/api/agents``: create, read, update, delete."""

from __future__ import annotations

from dataclasses import asdict, replace

from fastapi import APIRouter, Request, Response

from trunkline.bots.pipeline import validate_pipeline
from trunkline.calls import agents as use_cases
from trunkline.errors import UnknownAgent
from trunkline.http.api.models import Agent, AgentChange, AgentSaved, NewAgent
from trunkline.http.auth import Admin, Viewer, context_of
from trunkline.store.records import AgentKind, AgentRecord

__all__ = ["router"]

router = APIRouter(prefix="/api/agents", tags=["agents"])


def _shown(agent: AgentRecord) -> dict[str, object]:
    return asdict(agent)


def _check_pipeline(agent: AgentRecord) -> None:
    """Raises ``ConfigError`` naming what is wrong, before a process is started for it."""
    if agent.kind is AgentKind.PIPELINE and agent.pipeline is not None:
        validate_pipeline(agent.pipeline)


@router.get("")
async def list_agents(request: Request, _role: Viewer) -> list[Agent]:
    """All agents, by name."""
    records = await context_of(request).store.fetch_agents()
    return [Agent.model_validate(_shown(agent)) for agent in records]


@router.post("", status_code=201)
async def create_agent(request: Request, wanted: NewAgent, _role: Admin) -> AgentSaved:
    """Create an agent.

    It is loaded once before it is saved: a missing key, an unknown service or a module that does
    not import is refused here, and never met by a caller.
    """
    agent = wanted.record_of()
    _check_pipeline(agent)
    saved, warnings = await use_cases.create_agent(context_of(request), agent)
    return AgentSaved.model_validate({**_shown(saved), "warnings": warnings})


@router.get("/{name}")
async def read_agent(request: Request, name: str, _role: Viewer) -> Agent:
    """One agent."""
    agent = await context_of(request).store.fetch_agent(name)
    if agent is None:
        raise UnknownAgent(name)
    return Agent.model_validate(_shown(agent))


@router.patch("/{name}")
@router.put("/{name}")
async def update_agent(
    request: Request, name: str, change: AgentChange, _role: Admin
) -> AgentSaved:
    """Change the fields that are sent.

    Calls under way go on as they started; the next call gets the new agent.
    """
    context = context_of(request)
    agent = await context.store.fetch_agent(name)
    if agent is None:
        raise UnknownAgent(name)
    changed = replace(agent, **change.apply(agent))  # pyright: ignore[reportArgumentType]
    _check_pipeline(changed)
    saved, warnings = await use_cases.update_agent(context, changed)
    return AgentSaved.model_validate({**_shown(saved), "warnings": warnings})


@router.delete("/{name}", status_code=204)
async def delete_agent(request: Request, name: str, _role: Admin) -> Response:
    """Delete an agent; its calls stay on record."""
    await use_cases.delete_agent(context_of(request), name)
    return Response(status_code=204)
