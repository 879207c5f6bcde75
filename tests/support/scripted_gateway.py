"""The gateway's side of a channel, as far as a bot can tell; a test is the caller.

Nothing of ``trunkline.gateway`` is in it, so that tests of bots do not depend on it. The channel,
its Unix socket and the messages are the real ones.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.waiting import eventually
from trunkline.audio import Encoding, MediaFormat, encode
from trunkline.dispatch.channel import Channel, split_audio_out
from trunkline.dispatch.messages import (
    AgentSpec,
    BotStarted,
    CallFacts,
    CallStarted,
    Checkpoint,
    ClearAudio,
    DtmfPressed,
    EndCall,
    MarkReached,
    Message,
    Played,
    PlayMark,
    SessionEnding,
    SpeechStarted,
    SpeechStopped,
    TranscriptLine,
    UtteranceEnd,
)
from trunkline.dispatch.session import LoadedAgent, WorkerSession

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
BEAT_MS = 20
REPORT_EVERY_MS = 100


def call_started(agent: AgentSpec, **changes: object) -> CallStarted:
    """A Twilio call that has just begun."""
    facts = {
        "call_id": "call-1",
        "carrier": "twilio",
        "direction": "inbound",
        "agent": agent,
        "from_number": "+14155550100",
        "to_number": "+14155550199",
        "body": {"customer": "Ada"},
        **{key: value for key, value in changes.items() if key in CallFacts.__struct_fields__},
    }
    started = {
        "stream_id": "MZ00000000000000000000000000000001",
        "carrier_call_id": "CA00000000000000000000000000000001",
        "received_format": PCMU,
        "sent_format": PCMU,
        **{key: value for key, value in changes.items() if key not in facts},
    }
    return CallStarted(facts=CallFacts(**facts), **started)


@dataclass
class _Utterance:
    sent_ms: int = 0
    played_ms: int = 0
    ended: bool = False
    audio: bytearray = field(default_factory=bytearray)


class ScriptedGateway:
    """Plays what a bot sends, ``speed`` times as fast as a telephone, and keeps what was heard.

    Args:
        speed: Media milliseconds for each millisecond of the clock.
    """

    def __init__(self, *, speed: float = 10.0) -> None:
        self.speed = speed
        self.received: list[Message] = []
        self.heard = bytearray()
        """Payload that was played."""
        self.session: WorkerSession | None = None
        self.closed = asyncio.Event()
        self.can_clear = True
        """Otherwise a clear changes nothing, as with a carrier that has no such message."""
        self.paused = False
        """Nothing is played while this is set."""
        self._queue: deque[tuple[int, int, bytes] | int | str] = deque()
        self._utterances: dict[int, _Utterance] = {}
        self._channel = Channel(
            on_message=self._on_message, on_audio=self._on_audio, on_closed=self._on_closed
        )
        self._worker_channel = Channel(
            on_message=self._to_worker, on_audio=self._to_worker, on_closed=lambda _: None
        )

    # what came from the bot

    def all(self, kind: type[Message]) -> list[Message]:
        """Messages of one class, in order."""
        return [message for message in self.received if isinstance(message, kind)]

    @property
    def transcript(self) -> list[tuple[str, str]]:
        """Speaker and what was said; of the bot, what was heard."""
        return [
            (line.speaker, line.text if line.heard_text is None else line.heard_text)
            for line in self.received
            if isinstance(line, TranscriptLine)
        ]

    @property
    def last_checkpoint(self) -> list[dict[str, object]]:
        found = [message for message in self.received if isinstance(message, Checkpoint)]
        return found[-1].messages if found else []

    @property
    def clears(self) -> int:
        return len(self.all(ClearAudio))

    @property
    def has_ended_call(self) -> bool:
        return bool(self.all(EndCall))

    @property
    def is_quiet(self) -> bool:
        """Everything that was sent has been played."""
        return not self._queue

    def audio_of(self, utterance: int) -> bytes:
        """All audio that came of an utterance, played or not."""
        return bytes(self._utterances[utterance].audio)

    async def started(self) -> None:
        await eventually(lambda: self.all(BotStarted), what="bot started")

    async def said(self, *lines: str) -> None:
        """The transcript's last lines are these, whoever said them."""
        expected = list(lines)
        await eventually(
            lambda: [text for _, text in self.transcript[-len(expected) :]] == expected,
            what=f"transcript {expected} (got {self.transcript})",
        )

    async def hears(self, ms: int) -> None:
        """The caller has heard ``ms`` more of the bot than now."""
        target = len(self.heard) + PCMU.n_bytes(ms)
        await eventually(lambda: len(self.heard) >= target, what=f"{ms} ms of bot audio heard")

    # what the caller does

    def send(self, message: Message) -> None:
        self._channel.send(message)

    def speak(self, pcm16: bytes) -> None:
        """Say something: speech starts once the detector is sure, and stops after its silence."""
        # Silence before it, because a recogniser also takes the second before speech was detected.
        payload = encode(bytes(2 * 8 * 1_200) + pcm16 + bytes(2 * 8 * 300), PCMU)
        frames = [payload[start : start + 160] for start in range(0, len(payload), 160)]
        for number, frame in enumerate(frames):
            if number == 1_200 // BEAT_MS + 12:
                self.send(SpeechStarted(at_ms=240))
            self._channel.send_audio_in(frame.ljust(160, b"\xff"))
        self.send(SpeechStopped(at_ms=len(frames) * BEAT_MS))

    async def speak_live(self, pcm16: bytes) -> None:
        """Say something at the pace of ``speed`` without a detector: some bots have their own."""
        loop = asyncio.get_running_loop()
        payload = encode(pcm16 + bytes(2 * 8 * 1_000), PCMU)
        beat = loop.time()
        for start in range(0, len(payload), 160):
            self.send_audio(payload[start : start + 160].ljust(160, b"\xff"))
            beat += BEAT_MS / 1000 / self.speed
            await asyncio.sleep(max(0.0, beat - loop.time()))

    def send_audio(self, payload: bytes) -> None:
        """One frame of caller audio."""
        self._channel.send_audio_in(payload)

    def press(self, digit: str) -> None:
        self.send(DtmfPressed(digit=digit))

    def hang_up(self, reason: str = "stop") -> None:
        self.send(SessionEnding(reason=reason))

    def lose(self) -> None:
        """The gateway is gone."""
        self._channel.abort()

    # playing

    async def play(self) -> None:
        """Play until cancelled."""
        loop = asyncio.get_running_loop()
        beat = loop.time()
        unreported_ms = 0
        while True:
            beat += BEAT_MS / 1000 / self.speed
            await asyncio.sleep(max(0.0, beat - loop.time()))
            if self.paused:
                continue
            unreported_ms += BEAT_MS
            due = unreported_ms >= REPORT_EVERY_MS
            unreported_ms = 0 if due else unreported_ms
            self._play_frame(due=due)

    def _play_frame(self, *, due: bool) -> None:
        room = PCMU.n_bytes(BEAT_MS)
        while self._queue:
            item = self._queue[0]
            if isinstance(item, tuple):
                if not room:
                    break
                room = self._play_part(item, room, due=due)
                continue
            self._queue.popleft()
            if isinstance(item, str):
                self.send(MarkReached(name=item))
            else:
                done = self._utterances[item].sent_ms
                self.send(Played(utterance=item, played_ms=done, done=True))

    def _play_part(self, item: tuple[int, int, bytes], room: int, *, due: bool) -> int:
        number, offset_ms, payload = item
        part, rest = payload[:room], payload[room:]
        self.heard += part
        played_ms = offset_ms + PCMU.duration_ms(len(part))
        if rest:
            self._queue[0] = (number, played_ms, rest)
        else:
            self._queue.popleft()
        self._utterances[number].played_ms = played_ms
        if due:
            self.send(Played(utterance=number, played_ms=played_ms))
        return room - len(part)

    def _clear(self) -> None:
        cut = list(dict.fromkeys(item[0] for item in self._queue if isinstance(item, tuple)))
        marks = [item for item in self._queue if isinstance(item, str)]
        self._queue.clear()
        open_ones = [n for n, found in self._utterances.items() if not found.ended]
        for number in dict.fromkeys([*cut, *open_ones]):
            found = self._utterances[number]
            found.ended = True
            self.send(Played(utterance=number, played_ms=found.played_ms, cleared=True))
        for name in marks:
            self.send(MarkReached(name=name, cleared=True))

    # the channel

    def _on_message(self, message: Message) -> None:
        self.received.append(message)
        match message:
            case ClearAudio() if self.can_clear:
                self._clear()
            case UtteranceEnd(utterance=utterance):
                self._utterances.setdefault(utterance, _Utterance()).ended = True
                self._queue.append(utterance)
            case PlayMark(name=name):
                self._queue.append(name)
            case _:
                pass

    def _on_audio(self, payload: bytes) -> None:
        number, offset_ms, audio = split_audio_out(payload)
        utterance = self._utterances.setdefault(number, _Utterance())
        assert offset_ms == utterance.sent_ms, "audio of an utterance must follow without gaps"
        utterance.sent_ms += PCMU.duration_ms(len(audio))
        utterance.audio += audio
        self._queue.append((number, offset_ms, audio))

    def _on_closed(self, _error: Exception | None) -> None:
        self.closed.set()

    def _to_worker(self, arrived: Message | bytes) -> None:
        if isinstance(arrived, CallStarted):
            self.session = WorkerSession(arrived, self._worker_channel)
        elif self.session is not None:
            self.session.deliver(arrived)

    async def connect(self, call: CallStarted) -> WorkerSession:
        """Start ``call`` over a Unix socket."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.create_connection(lambda: self._channel, sock=ours)
        await loop.create_connection(lambda: self._worker_channel, sock=theirs)
        self.send(call)
        await eventually(lambda: self.session is not None, what="the session")
        assert self.session is not None
        return self.session

    def disconnect(self) -> None:
        self._channel.abort()
        self._worker_channel.abort()


@dataclass
class BotCall:
    """A bot that runs, and the gateway that it talks to."""

    gateway: ScriptedGateway
    bot: asyncio.Task[None]

    async def finished(self, within_s: float = 10.0) -> None:
        """Wait for the bot to return; raises what it raised."""
        await asyncio.wait_for(asyncio.shield(self.bot), within_s)


@asynccontextmanager
async def bot_call(
    agent: LoadedAgent, call: CallStarted, *, speed: float = 10.0
) -> AsyncIterator[BotCall]:
    """Run ``agent`` for ``call``; at the end both are stopped."""
    gateway = ScriptedGateway(speed=speed)
    session = await gateway.connect(call)
    loop = asyncio.get_running_loop()
    bot = loop.create_task(agent.run(session))
    playing = loop.create_task(gateway.play())
    try:
        yield BotCall(gateway, bot)
    finally:
        playing.cancel()
        if not bot.done():
            gateway.hang_up()
            await asyncio.wait({bot}, timeout=5)
            bot.cancel()
        await asyncio.gather(bot, playing, return_exceptions=True)
        gateway.disconnect()
