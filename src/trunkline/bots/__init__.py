"""What runs inside a worker: pipelines made from an agent's row, and users' own Pipecat bots.

``load`` is the way in, for the zygote (once, before it forks) and the worker. Importing this
package, or ``trunkline.bots.pipeline``, loads nothing of Pipecat, so the front may check an agent's
settings with it.
"""

from __future__ import annotations

from trunkline.dispatch.messages import AgentSpec
from trunkline.dispatch.session import LoadedAgent
from trunkline.errors import ConfigError

__all__ = ["load"]


def load(agent: AgentSpec, /) -> LoadedAgent:
    """Import and build everything that ``agent`` names, once, so that a call has only to start it.

    Raises:
        ConfigError: the agent cannot run; the sentence names what is missing and where to set it,
            and holds no secret.
    """
    match agent.kind:
        case "pipeline":
            # Pipecat takes seconds and megabytes to import: only where a bot will run.
            from trunkline.bots.agent import load_pipeline_agent

            return load_pipeline_agent(agent)
        case "module":
            from trunkline.bots.module import load_module_agent

            return load_module_agent(agent)
        case _:
            raise ConfigError(
                f"an agent is of kind pipeline or module, not {agent.kind!r}", field="kind"
            )
