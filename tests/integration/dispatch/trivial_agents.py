"""A loader of agents without Pipecat: a module's ``bot(session)`` gets the worker's session."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Awaitable, Callable

from trunkline.dispatch.messages import AgentSpec
from trunkline.dispatch.session import WorkerSession
from trunkline.errors import ConfigError

LOADER = f"{__name__}:load"


class TrivialAgent:
    def __init__(self, bot: Callable[[WorkerSession], Awaitable[None]]) -> None:
        self._bot = bot

    async def run(self, call: WorkerSession, /) -> None:
        await self._bot(call)


def load(agent: AgentSpec, /) -> TrivialAgent:
    """Import ``agent.module`` from its file."""
    assert agent.module is not None
    spec = importlib.util.spec_from_file_location("trivial_bot", agent.module)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trivial_bot"] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "bot"):
        raise ConfigError(f"{agent.module} has no function bot", field="module")
    return TrivialAgent(module.bot)
