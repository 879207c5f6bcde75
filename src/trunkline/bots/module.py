"""A module agent: a user's own file with ``async def bot(runner_args)``, unchanged.

How the file is loaded is learnt from real ones: by its location and under a name of its own, so
that ``__main__`` parts do not run; its folder first on ``sys.path`` and as working directory,
because bots import and open their neighbours; and what a ``.env`` in that folder says must not win
over the worker's environment, though nearly every bot loads it so.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

import structlog
from loguru import logger
from pipecat.runner.types import WebSocketRunnerArguments

from trunkline.bots.presented import NAMES, find_dialect
from trunkline.bots.websocket import BotWebSocket
from trunkline.dispatch.messages import AgentSpec, BotStarted, CallStarted
from trunkline.dispatch.session import LoadedAgent, WorkerSession
from trunkline.errors import ConfigError, WorkerFailed

__all__ = ["ModuleAgent", "load_module_agent"]

log = structlog.get_logger(__name__)

_BotFunction = Callable[[WebSocketRunnerArguments], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Place:
    file: Path
    function: str


def load_module_agent(agent: AgentSpec) -> LoadedAgent:
    """Import the agent's file and find its function.

    Raises:
        ConfigError: no such file or function, the function cannot be a bot, or a package that the
            file imports is missing.
    """
    place = _parse(agent.module or "")
    _prepare_process(agent, place)
    module = _import(place)
    return ModuleAgent(_find_bot(module, place), present_as=agent.present_as)


def _parse(text: str) -> _Place:
    """``path/to/bot.py`` or ``path/to/bot.py:function``."""
    path, colon, function = text.rpartition(":")
    if not colon or "/" in function or function.endswith(".py"):
        path, function = text, "bot"
    file = Path(path)
    if not path or file.suffix != ".py" or not function.isidentifier():
        raise ConfigError(
            f"module must be path/to/bot.py or path/to/bot.py:function, not {text!r}",
            field="module",
        )
    if not file.is_file():
        raise ConfigError(f"module: there is no file {file}", field="module")
    return _Place(file.resolve(), function)


def _prepare_process(agent: AgentSpec, place: _Place) -> None:
    shown = [agent.present_as] if agent.present_as is not None else NAMES
    for name in shown:
        dialect = find_dialect(name, agent.present_as)
        dialect.prepare()
        for variable, value in dialect.environment.items():
            os.environ.setdefault(variable, value)
    # Bots that look at it load noise filters and the like only when they are not on somebody's
    # laptop.
    os.environ.setdefault("ENV", "production")
    folder = str(place.file.parent)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    os.chdir(folder)


def _import(place: _Place) -> ModuleType:
    name = "trunkline_bot_" + re.sub(r"\W", "_", place.file.stem)
    spec = importlib.util.spec_from_file_location(name, place.file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"module: {place.file} cannot be imported", field="module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    environment = dict(os.environ)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ConfigError(f"module: {place.file.name}: {error}", field="module") from error
    finally:
        os.environ.update(environment)
    return module


def _find_bot(module: ModuleType, place: _Place) -> _BotFunction:
    where = f"module: {place.function} in {place.file.name}"
    function = cast("object", getattr(module, place.function, None))
    if function is None:
        raise ConfigError(f"module: {place.file.name} has no {place.function}()", field="module")
    if not inspect.iscoroutinefunction(function):
        raise ConfigError(f"{where} is not an async function", field="module")
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        raise ConfigError(f"{where} does not take one argument", field="module") from None
    return function


class ModuleAgent:
    """A module agent that can be run."""

    def __init__(self, bot: _BotFunction, *, present_as: str | None) -> None:
        self._bot = bot
        self._present_as = present_as

    async def run(self, session: WorkerSession, /) -> None:
        """Run ``bot()`` for one call; returns when it returns.

        Raises:
            WorkerFailed: the bot called ``sys.exit``.
            Exception: whatever else the bot raised.
        """
        call = session.call
        dialect = find_dialect(call.facts.carrier, self._present_as)
        websocket = BotWebSocket(session, dialect.new_stream(call))
        arguments = _arguments(call, websocket)
        session.on_message(websocket.message)
        session.on_audio(websocket.audio)
        session.send(BotStarted())
        try:
            with logger.contextualize(session_id=call.facts.call_id):
                await self._bot(arguments)
        except SystemExit as error:
            # Left to itself it would end the loop, and with it the messages that are still to be
            # sent.
            raise WorkerFailed(f"the bot called sys.exit({error.code!r})") from error
        websocket.end_call()


def _arguments(call: CallStarted, websocket: BotWebSocket) -> WebSocketRunnerArguments:
    """What Pipecat's own runner would pass. Some of it can only be set after construction."""
    body: object = call.facts.body if call.facts.body is not None else {}
    if call.attempt > 1 and isinstance(body, dict):
        body = {**cast("dict[str, object]", body), "resumed": True}
    arguments = WebSocketRunnerArguments(
        websocket=cast("object", websocket),  # pyright: ignore[reportArgumentType] - looks like one
        body=body,
        session_id=call.facts.call_id,
    )
    arguments.handle_sigint = False
    arguments.handle_sigterm = False
    arguments.cli_args = argparse.Namespace()
    return arguments
