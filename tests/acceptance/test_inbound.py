"""Calls from outside, over the simulated Twilio, from the webhook to the closed record."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import pytest

from tests.acceptance.agents import BODY_BOT, ECHO_BOT, bot_file, read_json, talker
from tests.support.server import World
from tests.support.waiting import eventually
from trunkline.simulator.caller import (
    HangUp,
    InterruptAfter,
    Pause,
    Press,
    Say,
    WaitForBotSilence,
    WaitForBotSpeech,
    WaitForHangup,
)
from trunkline.simulator.contract import HungUpBy
from trunkline.simulator.faults import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_conversation_from_greeting_to_goodbye(world: World, tmp_path: Path) -> None:
    await world.server.create_agent("front-desk", **talker())
    report = await world.ring(
        "front-desk",
        [
            WaitForBotSilence(),
            Say(text="what are your opening hours"),
            WaitForBotSilence(),
            Say(text="tell me a story"),
            InterruptAfter(speech_ms=1200),
            Say(text="goodbye"),
            WaitForHangup(),
        ],
    )
    assert report.hung_up_by is HungUpBy.REST
    assert report.status == "completed"
    assert not report.violations
    assert not report.missed
    assert report.counts.clears == 1
    call = await world.server.closed_call("front-desk")
    assert (call["state"], call["ended_by"], call["end_reason"]) == (
        "completed",
        "bot",
        "completed",
    )
    turns = await world.server.turns(call["id"])
    said = [turn["text"] for turn in turns if turn["speaker"] == "caller"]
    assert said == ["what are your opening hours", "tell me a story", "goodbye"]
    story = next(turn for turn in turns if turn["text"].startswith("Once upon"))
    assert story["interrupted"]
    assert story["text"].startswith(story["heard_text"])
    assert len(story["heard_text"]) < len(story["text"])
    answers = [t for t in turns if t["speaker"] == "bot" and t["latency_ms"] is not None]
    assert len(answers) == 3
    recording = await world.server.api.get(f"/api/calls/{call['id']}/recording")
    assert recording.status_code == 200
    path = tmp_path / "recording.wav"
    path.write_bytes(recording.content)
    with wave.open(str(path)) as wav:
        assert (wav.getnchannels(), wav.getframerate()) == (2, 8000)
        assert abs(wav.getnframes() / 8 - report.duration_ms) < 1500
    assert call["stats"]["frames_in"] == sum(stream.sent_frames for stream in report.streams)


async def test_the_caller_hangs_up(world: World) -> None:
    await world.server.create_agent("hung-up", **talker())
    await world.ring("hung-up", [WaitForBotSpeech(), HangUp()])
    call = await world.server.closed_call("hung-up")
    assert (call["ended_by"], call["end_reason"]) == ("caller", "completed")


async def test_an_unchanged_bot_hears_speaks_and_ends_the_call_on_a_key(
    world: World, tmp_path: Path
) -> None:
    await world.server.create_agent("echo", **bot_file(tmp_path, "echo_bot", ECHO_BOT))
    report = await world.ring(
        "echo",
        [Say(text="goodbye"), Pause(duration_ms=1000), Press(digit="9"), WaitForHangup()],
    )
    assert report.hung_up_by is HungUpBy.REST, report
    assert report.counts.played_bytes > 4000
    call = await world.server.closed_call("echo")
    assert (call["state"], call["ended_by"]) == ("completed", "bot")


async def test_a_static_url_is_proved_by_the_signed_upgrade(world: World, tmp_path: Path) -> None:
    await world.server.create_agent("static", **bot_file(tmp_path, "static_bot", BODY_BOT))
    url = f"ws://127.0.0.1:{world.server.port}/ws/twilio/static"
    markup = (
        f'<Response><Connect><Stream url="{url}"><Parameter name="from_number" '
        'value="+14155550100"/></Stream></Connect></Response>'
    )
    report = await world.ring("static", [WaitForHangup()], markup=markup)
    assert report.streams[0].refused_status is None
    call = await world.server.closed_call("static")
    assert call["carrier_call_id"] == report.carrier_call_id
    assert call["from_number"] == "+14155550100"
    seen = read_json(tmp_path / "static_bot.json")
    assert seen["call_id"] == report.carrier_call_id
    assert seen["secrets"] == []


async def test_a_static_url_can_look_the_caller_up(world: World, tmp_path: Path) -> None:
    await world.server.create_agent(
        "looked-up", **bot_file(tmp_path, "looked_up_bot", BODY_BOT), caller_lookup=True
    )
    url = f"ws://127.0.0.1:{world.server.port}/ws/twilio/looked-up"
    markup = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
    await world.ring("looked-up", [WaitForHangup()], markup=markup, from_number="+14155550123")
    call = await world.server.closed_call("looked-up")
    assert call["from_number"] == "+14155550123"
    seen = read_json(tmp_path / "looked_up_bot.json")
    assert seen["parameters"]["from_number"] == "+14155550123"


async def test_a_static_url_with_a_wrong_signature_is_refused_before_the_upgrade(
    world: World,
) -> None:
    await world.server.create_agent("forged-upgrade", **talker())
    url = f"ws://127.0.0.1:{world.server.port}/ws/twilio/forged-upgrade"
    markup = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
    report = await world.ring(
        "forged-upgrade", [WaitForHangup()], markup=markup, faults=[Fault.BAD_UPGRADE_SIGNATURE]
    )
    assert report.streams[0].refused_status == 403
    assert await world.server.calls("forged-upgrade") == []


async def test_a_forged_webhook_is_refused_and_takes_no_slot(world: World) -> None:
    await world.server.create_agent("forged", **talker())
    report = await world.ring("forged", [WaitForHangup()], faults=[Fault.BAD_SIGNATURE])
    assert {webhook.status for webhook in report.webhooks} == {403}
    assert await world.server.calls("forged") == []


async def test_a_webhook_that_comes_twice_makes_one_call(world: World) -> None:
    await world.server.create_agent("twice", **talker())
    report = await world.ring(
        "twice", [WaitForBotSpeech(), HangUp()], faults=[Fault.DUPLICATE_WEBHOOK]
    )
    assert [webhook.status for webhook in report.webhooks][:2] == [200, 200]
    await world.server.closed_call("twice")


@pytest.mark.parametrize("fault", [Fault.DROP_SOCKET, Fault.NO_STOP])
async def test_an_end_without_stop_is_asked_about(world: World, fault: Fault) -> None:
    await world.server.create_agent(f"lost-{fault}", **talker())
    await world.ring(f"lost-{fault}", [WaitForBotSpeech(), HangUp()], faults=[fault])
    call = await world.server.closed_call(f"lost-{fault}")
    assert call["end_reason"] in ("completed", "socket_lost")
    assert call["ended_by"] in ("caller", "carrier")
    await world.server.all_slots_are_free()


async def test_a_stream_that_never_starts_frees_its_slot(world: World) -> None:
    await world.server.create_agent("silent-start", **talker())
    await world.ring("silent-start", [WaitForHangup(within_ms=9000)], faults=[Fault.NO_START])
    call = await world.server.closed_call("silent-start")
    assert call["end_reason"] in ("socket_lost", "completed")
    await world.server.all_slots_are_free()


async def test_garbage_closes_the_stream_and_the_next_call_works(world: World) -> None:
    await world.server.create_agent("garbage", **talker())
    report = await world.ring(
        "garbage", [WaitForBotSilence(), WaitForHangup()], faults=[Fault.GARBAGE_FRAMES]
    )
    assert report.streams[0].close_code == 1007
    call = await world.server.closed_call("garbage")
    assert call["stats"]["warnings"]
    assert (call["state"], call["end_reason"]) == ("failed", "socket_lost")
    await world.ring("garbage", [WaitForBotSpeech(), HangUp()])
    await world.server.all_slots_are_free()
    assert (await world.server.calls("garbage"))[0]["end_reason"] == "completed"


async def test_a_call_above_the_limit_hears_busy_and_a_static_one_503(world: World) -> None:
    await world.server.create_agent("full", **talker(), max_concurrent_calls=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(world.ring("full", [Pause(duration_ms=5000), HangUp()]))
        await _until_in_progress(world, "full")
        second = await world.ring("full", [WaitForHangup()])
        assert second.status == "busy"
        url = f"ws://127.0.0.1:{world.server.port}/ws/twilio/full"
        markup = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
        third = await world.ring("full", [WaitForHangup()], markup=markup)
        assert third.streams[0].refused_status == 503
    calls = await world.server.calls("full")
    assert [call["state"] for call in calls if call["end_reason"] == "rejected"] == ["rejected"]


async def _until_in_progress(world: World, agent: str) -> None:
    async with asyncio.timeout(20):
        while not any(call["state"] == "in_progress" for call in await world.server.calls(agent)):
            await asyncio.sleep(0.02)


async def test_log_lines_carry_the_call_and_neither_number_nor_traceback(world: World) -> None:
    await world.server.create_agent("logged", **talker())
    await world.ring("logged", [WaitForBotSpeech(), HangUp()])
    call = await world.server.closed_call("logged")
    await eventually(
        lambda: any(str(call["id"]) in line for line in world.server.log_lines("call ended")),
        what="the log line of the call's end",
    )
    assert not world.server.log_lines("4155550100")
    assert not world.server.log_lines("Traceback")
