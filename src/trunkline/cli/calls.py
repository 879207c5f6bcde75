"""``trunkline calls``: records and recordings, and control of live calls, by the server's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import quote

import typer

from trunkline.cli.configuration import load_settings
from trunkline.cli.output import JsonOption, show_fields, show_json, show_table
from trunkline.cli.server import Json, Server, as_list, as_object
from trunkline.errors import ConfigError

__all__ = ["app", "transcript_line"]

app = typer.Typer(no_args_is_help=True)

_ROOT = "/api/calls"

_AsJson = Annotated[bool, JsonOption]
_CallId = Annotated[str, typer.Argument(help="The call's id.")]


def _server() -> Server:
    return Server.of(load_settings())


def _path(call_id: str, verb: str = "") -> str:
    return f"{_ROOT}/{quote(call_id, safe='')}{verb}"


@app.command("list")
def list_calls(
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    state: Annotated[str | None, typer.Option(help="Only calls in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    as_json: _AsJson = False,
) -> None:
    """List calls, newest first."""
    query: dict[str, str | int] = {"limit": limit}
    query |= {name: value for name, value in (("agent_name", agent), ("state", state)) if value}
    with _server() as server:
        page = as_object(server.get(_ROOT, query))
    if as_json:
        show_json(page)
        return
    columns = (
        "id",
        "created_at",
        "direction",
        "agent_name",
        "from_number",
        "state",
        "end_reason",
        "duration_s",
    )
    rows = [as_object(call) for call in as_list(page.get("calls"))]
    for row in rows:
        row["created_at"] = str(row.get("created_at") or "").partition(".")[0]
    show_table(columns, [[row.get(column) for column in columns] for row in rows])


@app.command()
def show(call_id: _CallId, as_json: _AsJson = False) -> None:
    """Show one call's record."""
    with _server() as server:
        _show(server.get(_path(call_id)), as_json=as_json)


@app.command()
def hangup(call_id: _CallId, as_json: _AsJson = False) -> None:
    """End a call. One that is over already is no error."""
    with _server() as server:
        _show(server.send("POST", _path(call_id, "/hangup")), as_json=as_json)


@app.command()
def dial(
    to_number: Annotated[str, typer.Argument(metavar="NUMBER", help="Whom to call, E.164.")],
    agent: Annotated[str, typer.Option(help="Which agent talks.")],
    from_number: Annotated[str | None, typer.Option("--from", help="Caller id.")] = None,
    provider: Annotated[str | None, typer.Option(help="By which carrier.")] = None,
    body: Annotated[str | None, typer.Option(help="Custom data for the bot, as JSON.")] = None,
    amd: Annotated[
        str | None, typer.Option(help="Answering machine detection: detect or message_end.")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Call a number."""
    order: dict[str, Json] = {"agent_name": agent, "to_number": to_number}
    options = {"from_number": from_number, "provider": provider, "amd": amd}
    order |= {name: value for name, value in options.items() if value is not None}
    if body is not None:
        order["body"] = _parse_body(body)
    with _server() as server:
        _show(server.send("POST", f"{_ROOT}/outbound", order), as_json=as_json)


@app.command()
def transcript(call_id: _CallId, as_json: _AsJson = False) -> None:
    """Show what was said."""
    with _server() as server:
        found = as_object(server.get(_path(call_id, "/transcript")))
    if as_json:
        show_json(found)
        return
    for turn in as_list(found.get("turns")):
        typer.echo(transcript_line(as_object(turn)))


@app.command()
def recording(
    call_id: _CallId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; CALL_ID.wav by default.")
    ] = None,
) -> None:
    """Fetch the stereo recording: caller left, bot right."""
    target = output or Path(f"{call_id}.wav")
    with _server() as server:
        wav = server.get_bytes(_path(call_id, "/recording"))
    try:
        target.write_bytes(wav)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}", field="output") from error
    typer.echo(str(target))


def transcript_line(turn: dict[str, Json]) -> str:
    """Return one turn of a transcript as a line: time, speaker, words, latency."""
    started_ms = turn.get("started_ms")
    time = f"{started_ms / 1000:7.2f} s" if isinstance(started_ms, int | float) else " " * 9
    text = str(turn.get("text") or "")
    if turn.get("kind") == "dtmf":
        text = f"[key {text}]"
    notes: list[str] = []
    if turn.get("interrupted"):
        heard = turn.get("heard_text")
        notes.append(f"interrupted; heard: {heard}" if heard else "interrupted")
    latency_ms = turn.get("latency_ms")
    if isinstance(latency_ms, int | float):
        notes.append(f"after {latency_ms:.0f} ms")
    suffix = f"  ({'; '.join(notes)})" if notes else ""
    return f"{time}  {turn.get('speaker') or '?':<6}  {text}{suffix}"


def _parse_body(text: str) -> Json:
    try:
        return cast("Json", json.loads(text))
    except ValueError as error:
        raise ConfigError(f"--body is not JSON: {error}", field="body") from error


def _show(answer: Json, *, as_json: bool) -> None:
    if as_json:
        show_json(answer)
    else:
        show_fields(as_object(answer))
