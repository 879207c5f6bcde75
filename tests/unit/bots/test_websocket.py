from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
from starlette.websockets import WebSocketDisconnect, WebSocketState

from tests.support.scripted_gateway import PCMU, ScriptedGateway, call_started
from tests.support.waiting import eventually
from trunkline.bots.presented.twilio import TwilioStream
from trunkline.bots.websocket import (
    LONGEST_SILENCE_MS,
    MAX_WAITING_EVENTS,
    MAX_WAITING_FRAMES,
    BotWebSocket,
)
from trunkline.dispatch.messages import (
    AgentSpec,
    ClearAudio,
    DtmfPressed,
    EndCall,
    MarkReached,
    PlayMark,
    SessionEnding,
    UtteranceEnd,
)

VOICE = b"\x10" * 320
SILENCE = PCMU.silence(40)


class Line:
    """A bot's socket and the gateway behind it."""

    def __init__(self, gateway: ScriptedGateway) -> None:
        assert gateway.session is not None
        self.gateway = gateway
        self.socket = BotWebSocket(gateway.session, TwilioStream(gateway.session.call))

    async def say(self, payload: bytes, times: int = 1) -> None:
        message = {"event": "media", "media": {"payload": base64.b64encode(payload).decode()}}
        for _ in range(times):
            await self.socket.send_text(json.dumps(message))

    async def arrived(self, kind: type, n: int = 1) -> None:
        await eventually(lambda: len(self.gateway.all(kind)) >= n, what=kind.__name__)

    async def skip_opening(self) -> None:
        await self.socket.receive()
        await self.socket.receive()


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    gateway = ScriptedGateway()
    await gateway.connect(call_started(AgentSpec(name="own", kind="module")))
    yield Line(gateway)
    gateway.disconnect()


# reading


async def test_handshake_comes_before_audio_that_was_there_first(line: Line) -> None:
    line.socket.audio(VOICE)
    events = [json.loads(await line.socket.receive_text())["event"] for _ in range(3)]
    assert events == ["connected", "start", "media"]


async def test_every_way_of_reading_gives_the_same_text(line: Line) -> None:
    await line.skip_opening()
    for digit in "1234":
        line.socket.message(DtmfPressed(digit=digit))
    assert json.loads((await line.socket.receive())["text"])["dtmf"]["digit"] == "1"
    assert json.loads(await line.socket.receive_text())["dtmf"]["digit"] == "2"
    assert json.loads(await line.socket.receive_bytes())["dtmf"]["digit"] == "3"
    parsed = await line.socket.receive_json()
    assert isinstance(parsed, dict)
    assert parsed["dtmf"]["digit"] == "4"


async def test_end_of_the_call_is_stop_and_then_disconnect(line: Line) -> None:
    line.socket.message(SessionEnding(reason="stop"))
    line.socket.message(SessionEnding(reason="lost"))
    line.socket.audio(VOICE)
    events = [json.loads(text)["event"] async for text in line.socket.iter_text()]
    assert events == ["connected", "start", "stop"]
    assert line.socket.client_state is WebSocketState.DISCONNECTED
    assert (await line.socket.receive())["type"] == "websocket.disconnect"
    with pytest.raises(WebSocketDisconnect):
        await line.socket.receive_text()


async def test_marks_come_back(line: Line) -> None:
    await line.skip_opening()
    line.socket.message(MarkReached(name="m", cleared=True))
    assert json.loads(await line.socket.receive_text())["mark"] == {"name": "m"}


async def test_bot_that_never_reads_is_bounded_and_keeps_the_newest_audio(line: Line) -> None:
    for number in range(3 * MAX_WAITING_FRAMES):
        line.socket.audio(bytes([number % 250]) * 160)
    for _ in range(2 * MAX_WAITING_EVENTS):
        line.socket.message(DtmfPressed(digit="1"))
    line.socket.message(SessionEnding(reason="stop"))
    texts = [text async for text in line.socket.iter_text()]
    messages = [json.loads(text) for text in texts]
    media = [message for message in messages if message["event"] == "media"]
    assert len(media) == MAX_WAITING_FRAMES
    last = base64.b64decode(media[-1]["media"]["payload"])
    assert last == bytes([(3 * MAX_WAITING_FRAMES - 1) % 250]) * 160
    assert len(messages) - len(media) <= MAX_WAITING_EVENTS


async def test_attributes_may_be_set(line: Line) -> None:
    line.socket.kept_by_pipecat = "x"  # as its handshake is
    assert line.socket.headers.get("origin") is None
    assert line.socket.query_params.get("body") is None
    await line.socket.accept()


# writing


async def test_media_is_one_utterance_until_a_pause(line: Line) -> None:
    await line.say(VOICE, 3)
    await line.arrived(UtteranceEnd)
    await line.say(VOICE)
    await line.arrived(UtteranceEnd, 2)
    assert line.gateway.audio_of(1) == VOICE * 3
    assert line.gateway.audio_of(2) == VOICE


async def test_silence_within_speech_is_kept(line: Line) -> None:
    silent = 2 * LONGEST_SILENCE_MS // 40
    await line.say(VOICE)
    await line.say(SILENCE, silent)
    await line.say(VOICE)
    await line.arrived(UtteranceEnd)
    assert line.gateway.audio_of(1) == VOICE + SILENCE * silent + VOICE


async def test_silence_at_the_end_is_cut(line: Line) -> None:
    await line.say(VOICE)
    await line.say(SILENCE, 2_000 // 40)
    await line.socket.close()
    await line.arrived(EndCall)
    assert line.gateway.audio_of(1) == VOICE + SILENCE * (LONGEST_SILENCE_MS // 40)


async def test_mark_stands_behind_silence_that_was_held_back(line: Line) -> None:
    await line.say(SILENCE, 2 * LONGEST_SILENCE_MS // 40)
    await line.socket.send_text('{"event":"mark","mark":{"name":"m"}}')
    await line.arrived(PlayMark)
    assert len(line.gateway.audio_of(1)) == PCMU.n_bytes(2 * LONGEST_SILENCE_MS)


async def test_clear_begins_a_new_utterance(line: Line) -> None:
    await line.say(VOICE)
    await line.socket.send_json({"event": "clear"})
    await line.arrived(ClearAudio)
    await line.say(VOICE)
    await line.socket.close()
    await line.arrived(UtteranceEnd)
    assert line.gateway.audio_of(2) == VOICE


async def test_nonsense_is_dropped_and_the_call_goes_on(line: Line) -> None:
    for text in ("", "[]", '{"event":"media","media":{"payload":"%"}}'):
        await line.socket.send_text(text)
    await line.socket.send_bytes(b"\xff\xfe")
    await line.socket.send({"type": "websocket.send", "text": '{"event":"clear"}'})
    await line.arrived(ClearAudio)


async def test_closing_ends_the_call_once_and_wakes_the_reader(line: Line) -> None:
    await line.skip_opening()
    await line.socket.send({"type": "websocket.close"})
    await line.socket.close()
    line.socket.end_call()
    assert (await line.socket.receive())["type"] == "websocket.disconnect"
    with pytest.raises(RuntimeError, match="close"):
        await line.socket.send_text("{}")
    await line.arrived(EndCall)
    assert len(line.gateway.all(EndCall)) == 1


async def test_call_that_is_over_is_not_ended_again(line: Line) -> None:
    line.socket.message(SessionEnding(reason="stop"))
    await line.socket.close()
    await line.socket.close()
    assert line.gateway.session is not None
    line.gateway.session.send(PlayMark(name="last"))
    await line.arrived(PlayMark)
    assert not line.gateway.all(EndCall)
