"""A user's own bot on a call: the presented protocol over the channel, and bots that misbehave."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_gateway import PCMU, bot_call, call_started
from tests.support.waiting import eventually
from trunkline.audio import resample
from trunkline.bots import load
from trunkline.bots.offline.speech import Synthesizer
from trunkline.dispatch.messages import AgentSpec, BotStarted, UtteranceEnd
from trunkline.errors import WorkerFailed

BOTS = Path(__file__).parent / "bot_files"
EXAMPLE = Path(__file__).parents[3] / "examples" / "twilio_bot.py"


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    """Loading a bot changes the process, which in production is the bot's own."""
    folder, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    yield
    os.chdir(folder)
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)


def agent(module: str | Path, **changes: object) -> AgentSpec:
    return AgentSpec(name="own", kind="module", module=str(module), **changes)


def loaded_module(name: str) -> object:
    return sys.modules[f"trunkline_bot_{name}"]


async def test_bot_is_shown_the_call_as_its_carrier_tells_it() -> None:
    spec = agent(BOTS / "mirror.py")
    started = call_started(spec, parameters={"from_number": "+14155550100", "plan": "gold"})
    async with bot_call(load(spec), started) as call:
        module = loaded_module("mirror")
        call.gateway.press("5")
        await eventually(lambda: module.seen, what="a message")
        call.gateway.hang_up()
        await call.finished()
    name, provider, call_data, arguments = module.calls[-1]
    assert (name, provider) == ("neighbour", "twilio")
    assert call_data.stream_id == started.stream_id
    assert call_data.call_id == started.carrier_call_id
    assert call_data.from_number == "+14155550100"
    assert call_data.body["plan"] == "gold"
    assert arguments.body == {"customer": "Ada"}
    assert arguments.session_id == "call-1"
    assert module.seen[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert module.seen[-1]["event"] == "stop"


async def test_audio_marks_and_clear_go_through() -> None:
    spec = agent(BOTS / "mirror.py")
    voice = bytes(range(1, 161)) * 50
    async with bot_call(load(spec), call_started(spec), speed=5) as call:
        seen = loaded_module("mirror").seen
        seen.clear()
        for start in range(0, len(voice), 160):
            call.gateway.send_audio(voice[start : start + 160])
        await eventually(
            lambda: [m for m in seen if m["event"] == "mark"], what="the echo of the mark"
        )
        assert bytes(call.gateway.heard[:160]) == voice[:160]
        call.gateway.press("9")
        await eventually(lambda: call.gateway.clears, what="the clear")
        call.gateway.press("0")
        await call.finished()
        await eventually(lambda: call.gateway.has_ended_call, what="the end of the call")
    assert len(call.gateway.heard) < len(voice)
    media = [m for m in seen if m["event"] == "media"]
    assert [m["media"]["timestamp"] for m in media[:3]] == ["0", "20", "40"]
    assert next(m for m in seen if m["event"] == "mark")["mark"] == {"name": "five"}


async def test_unchanged_twilio_bot_holds_a_conversation_and_hangs_up() -> None:
    spec = agent(EXAMPLE)
    pcm16, rate_hz = Synthesizer().speak("goodbye")
    async with bot_call(load(spec), call_started(spec), speed=2) as call:
        await eventually(lambda: call.gateway.all(UtteranceEnd), what="the greeting")
        await call.gateway.speak_live(resample(pcm16, rate_hz, 8000))
        await call.finished(within_s=20)
        await eventually(lambda: call.gateway.has_ended_call, what="the end of the call")
    assert len(call.gateway.heard) > PCMU.n_bytes(3_000)
    assert not call.gateway.heard.endswith(PCMU.silence(1_000)), "two seconds of silence at the end"


async def test_bot_for_one_carrier_answers_another() -> None:
    spec = agent(BOTS / "mirror.py", present_as="twilio")
    async with bot_call(load(spec), call_started(spec, carrier="exotel")) as call:
        module = loaded_module("mirror")
        await eventually(lambda: module.calls, what="the handshake")
        call.gateway.hang_up()
        await call.finished()
    assert module.calls[-1][1] == "twilio"


async def test_bot_that_raises() -> None:
    spec = agent(f"{BOTS / 'odd.py'}:raises")
    async with bot_call(load(spec), call_started(spec)) as call:
        with pytest.raises(LookupError, match="nothing to be found"):
            await call.finished()
    assert not call.gateway.has_ended_call


async def test_bot_that_exits_does_not_take_the_worker_along() -> None:
    spec = agent(f"{BOTS / 'odd.py'}:exits")
    async with bot_call(load(spec), call_started(spec)) as call:
        with pytest.raises(WorkerFailed, match=r"sys\.exit\(3\)"):
            await call.finished()


async def test_bot_that_returns_at_once_ends_the_call() -> None:
    spec = agent(f"{BOTS / 'odd.py'}:returns")
    async with bot_call(load(spec), call_started(spec)) as call:
        await call.finished()
        await eventually(lambda: call.gateway.has_ended_call, what="the end of the call")
    assert call.gateway.all(BotStarted)


async def test_bot_that_reads_nothing_is_told_by_the_end_of_its_task() -> None:
    spec = agent(f"{BOTS / 'odd.py'}:is_deaf")
    async with bot_call(load(spec), call_started(spec)) as call:
        await call.gateway.started()
        for _ in range(2_000):
            call.gateway.send_audio(bytes(160))
        call.gateway.hang_up()
        call.bot.cancel()
        await asyncio.wait({call.bot}, timeout=5)
        assert call.bot.cancelled()
