"""``trunkline call``: rings a server as the carrier would, and says what the caller experienced."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from trunkline import simulator
from trunkline.audio import DTMF_DIGITS, read_wav
from trunkline.bots.offline.speech import Synthesizer
from trunkline.calls.urls import PublicUrls
from trunkline.cli.configuration import account_from_environment, load_settings, only_carrier
from trunkline.cli.output import JsonOption, show_fields, show_json, show_table
from trunkline.errors import ConfigError, InvalidRequest
from trunkline.simulator.caller import (
    BotFinished,
    BotSpoke,
    Caller,
    CallerEvent,
    CallerHungUp,
    CallerPressed,
    CallerSaid,
    HangUp,
    Press,
    Say,
    Step,
    WaitForBotSilence,
    prepare,
)
from trunkline.simulator.contract import CallReport, Ring, Setup
from trunkline.simulator.faults import Fault, Faults

__all__ = ["call", "describe", "new_script"]

_CALLER_VOICE = "en-us+f2"  # unlike the bot's, so that ears can tell them apart
_FIRST_WORDS_WITHIN_MS = 8000
_ANSWER_WITHIN_MS = 15_000


def call(
    agent: Annotated[str, typer.Option(help="The agent to ring.")],
    provider: Annotated[str | None, typer.Option(help="The carrier to play.")] = None,
    say: Annotated[list[str] | None, typer.Option(help="Say this; may be repeated.")] = None,
    wav: Annotated[
        list[Path] | None, typer.Option(help="Play this WAV file; may be repeated.")
    ] = None,
    dtmf: Annotated[
        list[str] | None, typer.Option(help="Press these keys; may be repeated.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write what the caller heard and said, stereo.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="The server's public address; PUBLIC_BASE_URL or TRUNKLINE_URL by default."
        ),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option(help="Connect here, whatever the public address is: http://127.0.0.1:8000."),
    ] = None,
    from_number: Annotated[str, typer.Option("--from", help="Caller's number.")] = "+14155550100",
    to_number: Annotated[
        str, typer.Option("--to", "--number", help="Number that is called.")
    ] = "+15005550006",
    fault: Annotated[
        list[Fault] | None, typer.Option(help="Let this go wrong; may be repeated.")
    ] = None,
    fault_after_ms: Annotated[
        int, typer.Option(min=0, help="When, after the stream's start.")
    ] = 1000,
    rest_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Loopback port for the carrier's REST API; 0: any."),
    ] = 0,
    voice: Annotated[str, typer.Option(help="Caller's voice (espeak-ng).")] = _CALLER_VOICE,
    as_json: Annotated[bool, JsonOption] = False,
) -> None:
    """Ring an agent as the carrier would: sentences first, then files, then keys.

    The caller waits for the bot's silence before each, and hangs up after the last answer. Needs
    the carrier's credentials in the environment, to sign. Exit status 1 when the call failed, or
    the server broke the carrier's rules.
    """
    settings = load_settings()
    carrier = only_carrier(provider, settings)
    base_url = (url or settings.public_base_url or settings.trunkline_url).rstrip("/")
    if not urlsplit(base_url).netloc:
        raise ConfigError(f"{base_url} is no URL such as https://voice.example.com", field="url")
    steps = new_script(sentences=say or (), files=wav or (), keys=dtmf or ())
    caller = Caller(
        prepare(steps, Synthesizer(voice)) if say else steps,
        on_event=None if as_json else lambda event: typer.echo(describe(event)),
    )
    ring = Ring(
        webhook_url=PublicUrls(base_url, is_configured=True).inbound(carrier.name, agent),
        caller=caller,
        from_number=from_number,
        to_number=to_number,
        faults=Faults(wanted=frozenset(fault or ()), after_ms=fault_after_ms),
    )
    setup = Setup(account=account_from_environment(carrier), rest_port=rest_port, via=via)
    report = asyncio.run(_ring(carrier.name, setup, ring))
    if record is not None:
        _write(record, report.recording)
    _show(report, as_json=as_json)
    sys.exit(0 if _went_well(report) else 1)


def new_script(
    *, sentences: Sequence[str], files: Sequence[Path], keys: Sequence[str]
) -> list[Step]:
    """Return the caller's steps: listen, speak, listen, …, hang up.

    Raises:
        ConfigError: a file is no WAV that can be played.
        InvalidRequest: a key is none of ``0-9 * # A-D``.
    """
    acts: list[Step] = [Say(text=sentence) for sentence in sentences]
    acts += [_read_speech(file) for file in files]
    for digit in "".join(keys).upper():
        if digit not in DTMF_DIGITS:
            raise InvalidRequest("--dtmf takes keys 0-9 * # A-D", field="dtmf")
        acts.append(Press(digit=digit))
    steps: list[Step] = [WaitForBotSilence(within_ms=_FIRST_WORDS_WITHIN_MS)]
    for act in acts:
        if isinstance(act, Press) and isinstance(steps[-2] if len(steps) > 1 else None, Press):
            steps.pop()  # keys of one entry follow one another
        steps += [act, WaitForBotSilence(silence_ms=1000, within_ms=_ANSWER_WITHIN_MS)]
    return [*steps, HangUp()]


def describe(event: CallerEvent) -> str:
    """Return a line about what happens, with its time in the call."""
    time = f"{event.at_ms / 1000:7.2f} s  "
    match event:
        case CallerSaid(text=text):
            return f"{time}caller  {text or '(audio)'}"
        case CallerPressed(digit=digit):
            return f"{time}caller  [key {digit}]"
        case BotSpoke(response_ms=None):
            return f"{time}bot     speaks"
        case BotSpoke(response_ms=response_ms):
            return f"{time}bot     answers after {response_ms} ms"
        case BotFinished(interrupted=interrupted):
            return f"{time}bot     {'stops: interrupted' if interrupted else 'is silent'}"
        case CallerHungUp():
            return f"{time}caller  hangs up"


async def _ring(carrier_name: str, setup: Setup, ring: Ring) -> CallReport:
    async with simulator.get(carrier_name).open(setup) as carrier:
        return await carrier.ring(ring)


def _read_speech(file: Path) -> Say:
    try:
        wav = read_wav(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", field="wav") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}", field="wav") from error
    if wav.channels != 1:
        raise ConfigError(f"{file} has {wav.channels} channels; one is needed", field="wav")
    return Say(text=file.name, pcm16=wav.pcm, sample_rate_hz=wav.sample_rate_hz)


def _write(target: Path, wav: bytes) -> None:
    try:
        target.write_bytes(wav)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}", field="record") from error


def _went_well(report: CallReport) -> bool:
    opened = any(stream.refused_status is None for stream in report.streams)
    return report.status == "completed" and opened and not report.violations and not report.missed


def _show(report: CallReport, *, as_json: bool) -> None:
    if as_json:
        show_json(report)
        return
    counts = report.counts
    show_fields(
        {
            "carrier's call id": report.carrier_call_id,
            "status": f"{report.status}, ended by {report.hung_up_by.value}",
            "duration": f"{report.duration_ms / 1000:.2f} s",
            "audio": f"{counts.said_frames} frames said; {counts.received_bytes} bytes heard, "
            f"{counts.cleared_bytes} cleared, {counts.unplayed_bytes} cut off, {counts.gaps} gaps",
        }
    )
    if report.turns:
        columns = ("caller said", "bot answered after", "interrupted: bot silent after")
        rows = [
            (turn.text, _ms(turn.response_ms), _ms(turn.bot_silent_after_ms))
            for turn in report.turns
        ]
        show_table(columns, rows)
    for missed in report.missed:
        typer.echo(f"in vain: {missed}", err=True)
    for violation in report.violations:
        typer.echo(f"carrier's error {violation.code}: {violation.detail}", err=True)


def _ms(value: int | None) -> str:
    return "" if value is None else f"{value} ms"
