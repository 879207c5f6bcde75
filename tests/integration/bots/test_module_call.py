"""A user's own bot on a call: the presented protocol over the real channel, and bots that misbehave."""

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
from trunkline.errors import ConfigError, WorkerFailed

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


async def test_bot_that_never_reads_costs_bounded_memory() -> None:
    spec = agent(f"{BOTS / 'odd.py'}:is_deaf")
    hold = asyncio.Event()
    loaded = load(spec)
    from trunkline.bots.websocket import MAX_WAITING_FRAMES, BotWebSocket

    seen: list[BotWebSocket] = []

    async def run(arguments: object) -> None:
        seen.append(arguments.websocket)  # type: ignore[attr-defined] - whatever a bot is given
        await hold.wait()

    loaded._bot = run  # type: ignore[attr-defined] # noqa: SLF001
    async with bot_call(loaded, call_started(spec)) as call:
        await call.gateway.started()
        for _ in range(3 * MAX_WAITING_FRAMES):
            call.gateway.send_audio(bytes(160))
        call.gateway.press("1")
        await eventually(
            lambda: any(isinstance(item, str) and "dtmf" in item for item in seen[0]._waiting),
            what="the key",
        )
        assert len(seen[0]._waiting) <= MAX_WAITING_FRAMES + 3
        hold.set()
        await call.finished()


def test_env_file_of_a_bot_does_not_replace_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\nONLY_IN_FILE=1\n")
    (tmp_path / "bot.py").write_text((BOTS / "odd.py").read_text() + "\nbot = returns\n")
    os.environ["OPENAI_API_KEY"] = "from-environment"
    load(agent(tmp_path / "bot.py"))
    assert os.environ["OPENAI_API_KEY"] == "from-environment"
    assert os.environ["ONLY_IN_FILE"] == "1"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("", "module must be path/to/bot.py"),
        ("bot", "module must be path/to/bot.py"),
        ("nowhere/bot.py", "there is no file"),
        (f"{BOTS / 'odd.py'}", r"has no bot\(\)"),
        (f"{BOTS / 'odd.py'}:not_async", "is not an async function"),
        (f"{BOTS / 'odd.py'}:takes_nothing", "does not take one argument"),
    ],
)
def test_what_cannot_be_a_bot_is_refused(module: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(agent(module))


def test_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("import no_such_package\n")
    with pytest.raises(ConfigError, match="no_such_package"):
        load(agent(tmp_path / "bot.py"))


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(ConfigError, match="bots can be shown twilio"):
        load(agent(BOTS / "mirror.py", present_as="carrier-pigeon"))
