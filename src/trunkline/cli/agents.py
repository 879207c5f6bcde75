"""``trunkline agents``: list, show, create, change, delete, by the server's API."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import quote

import typer

from trunkline.cli.configuration import load_settings
from trunkline.cli.output import JsonOption, show_fields, show_json, show_table
from trunkline.cli.server import Json, Server, as_list, as_object
from trunkline.errors import ConfigError

__all__ = ["app", "definition"]

app = typer.Typer(no_args_is_help=True)

_ROOT = "/api/agents"

_AsJson = Annotated[bool, JsonOption]
_Name = Annotated[str, typer.Argument(help="The agent's name.")]
_File = Annotated[
    str | None,
    typer.Option("--file", help="Definition as JSON, as the API takes it; - reads standard input."),
]
_Module = Annotated[
    str | None, typer.Option("--module", help="Pipecat bot: path/to/bot.py[:function].")
]
_Prompt = Annotated[str | None, typer.Option("--prompt", help="System prompt of a pipeline agent.")]
_Greeting = Annotated[str | None, typer.Option("--greeting", help="What it says first.")]
_Stt = Annotated[str | None, typer.Option("--stt", help="Speech recognition, such as deepgram.")]
_Llm = Annotated[str | None, typer.Option("--llm", help="Language model, such as openai.")]
_Tts = Annotated[str | None, typer.Option("--tts", help="Voice, such as cartesia.")]


def _server() -> Server:
    return Server.of(load_settings())


def _path(name: str) -> str:
    return f"{_ROOT}/{quote(name, safe='')}"


@app.command("list")
def list_agents(as_json: _AsJson = False) -> None:
    """List all agents."""
    with _server() as server:
        agents = as_list(server.get(_ROOT))
    if as_json:
        show_json(agents)
        return
    rows = [as_object(agent) for agent in agents]
    show_table(
        ("name", "kind", "enabled", "module", "revision"),
        [
            (
                row.get("name"),
                row.get("kind"),
                row.get("enabled"),
                row.get("module"),
                row.get("revision"),
            )
            for row in rows
        ],
    )


@app.command()
def show(name: _Name, as_json: _AsJson = False) -> None:
    """Show one agent."""
    with _server() as server:
        _show(server.get(_path(name)), as_json=as_json)


@app.command()
def create(
    name: _Name,
    file: _File = None,
    module: _Module = None,
    prompt: _Prompt = None,
    greeting: _Greeting = None,
    stt: _Stt = None,
    llm: _Llm = None,
    tts: _Tts = None,
    as_json: _AsJson = False,
) -> None:
    """Create an agent. It is loaded once before it is saved, so that what is missing shows now."""
    body = definition(
        file=file, module=module, prompt=prompt, greeting=greeting, stt=stt, llm=llm, tts=tts
    )
    if not body:
        raise ConfigError(
            "say what the agent is: --file, --module, or --prompt with --stt, --llm, --tts"
        )
    with _server() as server:
        _show(server.send("POST", _ROOT, {**body, "name": name}), as_json=as_json)


@app.command()
def update(
    name: _Name,
    file: _File = None,
    module: _Module = None,
    prompt: _Prompt = None,
    greeting: _Greeting = None,
    stt: _Stt = None,
    llm: _Llm = None,
    tts: _Tts = None,
    as_json: _AsJson = False,
) -> None:
    """Change an agent: what is named is replaced, the rest stays. The next call gets it."""
    body = definition(
        file=file, module=module, prompt=prompt, greeting=greeting, stt=stt, llm=llm, tts=tts
    )
    if not body:
        raise ConfigError("say what to change")
    body.pop("name", None)
    with _server() as server:
        if file is None and "pipeline" in body:
            stored = as_object(as_object(server.get(_path(name))).get("pipeline"))
            body["pipeline"] = {**stored, **as_object(body["pipeline"])}
        _show(server.send("PUT", _path(name), body), as_json=as_json)


@app.command()
def delete(name: _Name) -> None:
    """Delete an agent. Its calls stay on record."""
    with _server() as server:
        server.send("DELETE", _path(name))
    typer.echo(f"{name} is deleted")


@app.command()
def enable(name: _Name, as_json: _AsJson = False) -> None:
    """Let an agent take calls."""
    with _server() as server:
        _show(server.send("PUT", _path(name), {"enabled": True}), as_json=as_json)


@app.command()
def disable(name: _Name, as_json: _AsJson = False) -> None:
    """Let an agent take no new calls."""
    with _server() as server:
        _show(server.send("PUT", _path(name), {"enabled": False}), as_json=as_json)


def definition(
    *,
    file: str | None,
    module: str | None,
    prompt: str | None,
    greeting: str | None,
    stt: str | None,
    llm: str | None,
    tts: str | None,
) -> dict[str, Json]:
    """Return the request's body for what was given on the command line, without the name.

    Raises:
        ConfigError: more than one way was used, or the file is not a JSON object.
    """
    services = {"stt": stt, "llm": llm, "tts": tts}
    pipeline: dict[str, Json] = {
        stage: {"service": service} for stage, service in services.items() if service is not None
    }
    pipeline |= {
        field: text
        for field, text in (("prompt", prompt), ("greeting", greeting))
        if text is not None
    }
    if sum((file is not None, module is not None, bool(pipeline))) > 1:
        raise ConfigError("--file, --module and --prompt with its services are three ways: use one")
    if file is not None:
        return _read_definition(file)
    if module is not None:
        return {"module": module}
    return {"pipeline": pipeline} if pipeline else {}


def _read_definition(file: str) -> dict[str, Json]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = cast("Json", json.loads(text))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="file") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON: {error}", field="file") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file} must hold a JSON object", field="file")
    return found


def _show(answer: Json, *, as_json: bool) -> None:
    agent = as_object(answer)
    if as_json:
        show_json(agent)
        return
    warnings = as_list(agent.pop("warnings", None))
    show_fields(agent)
    for warning in warnings:
        typer.echo(f"note: {warning}", err=True)
