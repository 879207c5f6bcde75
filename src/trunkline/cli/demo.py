"""``trunkline demo``: a call from end to end on this machine, checked against its record.

No account and no key: the carrier is the simulator, speech and its recognition are the offline
engines. What goes over the wire is what the carrier's own calls would send.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import httpx
import typer
from rich.console import Console

from trunkline import carriers, simulator
from trunkline.bots.offline.speech import Synthesizer
from trunkline.calls.urls import PublicUrls
from trunkline.cli.calls import transcript_line
from trunkline.cli.configuration import load_settings, only_carrier
from trunkline.cli.demo_script import Check, conversation, front_desk, judge
from trunkline.cli.demo_server import demo_environment, free_port, running_server
from trunkline.cli.keys import make_key
from trunkline.cli.output import JsonOption, plain, show_json
from trunkline.cli.server import Json, ServerUnreachable, as_list, as_object, refusal_of
from trunkline.errors import TrunklineError
from trunkline.settings import Settings
from trunkline.simulator.caller import BotSpoke, Caller, CallerEvent, prepare
from trunkline.simulator.contract import CallReport, Ring, Setup, SimulatedCarrier
from trunkline.store import Role

__all__ = ["demo"]

_CALLER_VOICE = "en-us+f2"
_WORDS_PER_MINUTE = 140  # what the recogniser was measured with
_RECORD_WITHIN_S = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What the demo leaves behind."""

    home: Path

    @property
    def recording(self) -> Path:
        """Stereo: caller left, bot right, as the gateway wrote it."""
        return self.home / "recording.wav"

    @property
    def caller_recording(self) -> Path:
        """The same from the caller's telephone."""
        return self.home / "caller.wav"

    @property
    def transcript(self) -> Path:
        """As the API gives it."""
        return self.home / "transcript.json"

    @property
    def call(self) -> Path:
        """The call's record."""
        return self.home / "call.json"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    call: dict[str, Json]
    turns: list[Json]
    report: CallReport
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def demo(
    provider: Annotated[str | None, typer.Option(help="The carrier to play.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server up afterwards.")] = False,
    as_json: Annotated[bool, JsonOption] = False,
) -> None:
    """Ring a bot on this machine, listen to the conversation, and check its record.

    Exit status 0 only if the record says: completed, every turn recognised, the interruption
    cleared, no frame lost.
    """
    carrier_name = provider or carriers.NAMES[0]
    only_carrier(carrier_name, load_settings())
    files = _Files(home=Path(tempfile.mkdtemp(prefix="trunkline-demo-")))
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    try:
        outcome = asyncio.run(_demo(carrier_name, files, say, keep=keep, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if outcome.ok else 1)


async def _demo(
    carrier_name: str, files: _Files, say: Say, *, keep: bool, as_json: bool
) -> _Outcome:
    started_s = time.monotonic()
    voice = Synthesizer(_CALLER_VOICE, _WORDS_PER_MINUTE)
    steps = await asyncio.to_thread(prepare, conversation(), voice)
    port = free_port()
    async with simulator.get(carrier_name).open(Setup()) as carrier:
        environment = demo_environment(files.home, port, carrier.environment)
        say(f"starting trunkline serve on 127.0.0.1:{port}, home {files.home}")
        async with running_server(port=port, environment=environment, log=files.log) as url:
            api = await _new_api(files.home, url)
            async with api:
                outcome = await _hold_call(
                    carrier, carrier_name, api, Caller(steps, on_event=_teller(say)), say
                )
                await _save(api, files, outcome)
            _conclude(outcome, files, say, time.monotonic() - started_s)
            if as_json:
                show_json(_result(outcome, files))
            if keep:
                await _stay(carrier_name, files, url, str(api.headers["authorization"]), say)
    return outcome


def _teller(say: Say) -> Callable[[CallerEvent], None]:
    """Return what shows the caller's own view; the words come from the server."""

    def tell(event: CallerEvent) -> None:
        if isinstance(event, BotSpoke) and event.response_ms is not None:
            say(f"{'':19}the caller hears an answer after {event.response_ms} ms")

    return tell


async def _new_api(home: Path, url: str) -> httpx.AsyncClient:
    """Make the first API key, as ``trunkline keys create`` does; return a client with it."""
    settings = Settings.model_validate({"trunkline_home": home, "database_url": None})
    _, key = await make_key(settings, "demo", Role.ADMIN)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=90.0, trust_env=False)


async def _hold_call(
    carrier: SimulatedCarrier, carrier_name: str, api: httpx.AsyncClient, caller: Caller, say: Say
) -> _Outcome:
    agent = front_desk()
    name = str(agent["name"])
    await _ask(api, "POST", "/api/agents", agent)
    webhook_url = PublicUrls(str(api.base_url).rstrip("/"), is_configured=True).inbound(
        carrier_name, name
    )
    say(f"ringing {webhook_url}\n")
    async with asyncio.TaskGroup() as tasks:
        showing = tasks.create_task(_show_transcript(api, say))
        try:
            report = await carrier.ring(Ring(webhook_url=webhook_url, caller=caller))
            await asyncio.wait({showing}, timeout=_RECORD_WITHIN_S)
        finally:
            showing.cancel()
    call = await _finished_call(api, report.carrier_call_id) or {}
    turns: list[Json] = []
    if call:
        found = await _ask(api, "GET", f"/api/calls/{call['id']}/transcript")
        turns = as_list(as_object(found).get("turns"))
    return _Outcome(call=call, turns=turns, report=report, checks=judge(call, turns, report))


async def _finished_call(api: httpx.AsyncClient, carrier_call_id: str) -> dict[str, Json] | None:
    """Wait until the record of the call is closed; return it as it is when that takes too long."""
    call: dict[str, Json] | None = None
    deadline_s = time.monotonic() + _RECORD_WITHIN_S
    while time.monotonic() < deadline_s:
        calls = await _calls(api)
        call = next((row for row in calls if row.get("carrier_call_id") == carrier_call_id), None)
        if call is not None and call.get("ended_at") and as_object(call.get("stats")):
            return call
        await asyncio.sleep(0.1)
    return call


async def _show_transcript(api: httpx.AsyncClient, say: Say) -> None:
    """Print each turn as the server tells of it; the checks read the record, not this."""
    try:
        call_id = await _first_call_id(api)
        async for kind, data in _events(api, f"/api/calls/{call_id}/events"):
            line = _live_line(kind, data)
            if line is not None:
                say(line)
    except (httpx.HTTPError, TrunklineError) as error:
        say(f"(the live transcript was lost: {error})")


async def _first_call_id(api: httpx.AsyncClient) -> Json:
    """Wait until the server has taken the call; the ring ends the wait if it does not."""
    while True:
        calls = await _calls(api)
        if calls:
            return calls[0].get("id")
        await asyncio.sleep(0.05)


def _live_line(kind: str, data: dict[str, Json]) -> str | None:
    """Return an event as a line; None for those that nobody said or pressed."""
    match kind:
        case "turn":
            # The key as the agent's LLM is told of it; the key itself has its own event.
            is_key = str(data.get("text")).startswith("[dtmf ")
            return None if is_key else transcript_line({"kind": "turn", **data})
        case "dtmf":
            key: dict[str, Json] = {"kind": "dtmf", "speaker": "caller", "text": data.get("digit")}
            return transcript_line({**key, "started_ms": data.get("at_ms")})
        case _:
            return None


async def _events(api: httpx.AsyncClient, path: str) -> AsyncGenerator[tuple[str, dict[str, Json]]]:
    """Yield server-sent events until the server says goodbye."""
    kind = ""
    async with api.stream("GET", path) as response:
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, as_object(cast("Json", json.loads(line.removeprefix("data: "))))
            if kind == "bye":
                return


async def _save(api: httpx.AsyncClient, files: _Files, outcome: _Outcome) -> None:
    files.call.write_text(json.dumps(outcome.call, indent=2), encoding="utf-8")
    files.transcript.write_text(json.dumps(outcome.turns, indent=2), encoding="utf-8")
    files.caller_recording.write_bytes(outcome.report.recording)
    if outcome.call.get("has_recording"):
        response = await api.get(f"/api/calls/{outcome.call['id']}/recording")
        files.recording.write_bytes(response.content)


def _conclude(outcome: _Outcome, files: _Files, say: Say, took_s: float) -> None:
    say("")
    for check in outcome.checks:
        say(f"{'ok' if check.ok else 'NO':<3} {check.name}: {check.found}")
    recording = files.recording if files.recording.exists() else "none was made"
    say(f"\nrecording   {recording}")
    say(f"transcript  {files.transcript}")
    say(f"record      {files.call}")
    say(f"log         {files.log}")
    say(
        f"\n{'the call went well' if outcome.ok else 'THE CALL DID NOT GO AS IT SHOULD'}"
        f" ({took_s:.0f} s)"
    )


def _result(outcome: _Outcome, files: _Files) -> dict[str, object]:
    return {
        "ok": outcome.ok,
        "checks": outcome.checks,
        "call": outcome.call,
        "turns": outcome.turns,
        "report": plain(outcome.report),
        "files": {
            "recording": files.recording if files.recording.exists() else None,
            "caller_recording": files.caller_recording,
            "transcript": files.transcript,
            "call": files.call,
            "log": files.log,
        },
    }


async def _stay(carrier_name: str, files: _Files, url: str, authorization: str, say: Say) -> None:
    carrier = carriers.get(carrier_name)
    variables = " ".join(
        f"{variable}=…" for variable in carrier.account.model_validate({}).missing()
    )
    say(f"\nThe server stays up at {url} until Ctrl-C. Try it:")
    say(f"  export TRUNKLINE_URL={url} TRUNKLINE_API_KEY={authorization.removeprefix('Bearer ')}")
    say("  trunkline calls list")
    say(f"\nFor a real {carrier.display_name} number, press Ctrl-C and start on a public address:")
    say(f"  {variables} TRUNKLINE_HOME={files.home} trunkline serve --tunnel cloudflared")
    say(
        f"and make the number's voice URL https://ADDRESS/telephony/{carrier_name}/inbound/front-desk."
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def _calls(api: httpx.AsyncClient) -> list[dict[str, Json]]:
    """Return the newest calls on record."""
    page = as_object(await _ask(api, "GET", "/api/calls"))
    return [as_object(row) for row in as_list(page.get("calls"))]


async def _ask(api: httpx.AsyncClient, method: str, path: str, body: Json = None) -> Json:
    """Return the answer's JSON.

    Raises:
        ServerUnreachable: the server is gone.
        ServerRefused: the answer is an error.
    """
    try:
        response = await api.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise ServerUnreachable(str(api.base_url), type(error).__name__) from error
    if not response.is_success:
        raise refusal_of(response)
    return cast("Json", response.json())
