"""The detector's word reaches the bot, and the journal says how long the caller waited."""

from __future__ import annotations

from tests.integration.gateway.conftest import Stage
from tests.integration.gateway.peers import Worker, call, facts
from trunkline.audio import Encoding, MediaFormat, encode, resample
from trunkline.bots.offline.speech import Synthesizer
from trunkline.dispatch.messages import (
    Message,
    SpeechStarted,
    SpeechStopped,
    TranscriptLine,
    UtteranceEnd,
)

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
SILENCE_MS = 600


class Answering(Worker):
    """Answers as soon as it hears that the caller has stopped."""

    def __init__(self) -> None:
        super().__init__(echoes=False)

    def _receive(self, message: Message) -> None:
        super()._receive(message)
        if isinstance(message, SpeechStopped) and len(self.of(SpeechStopped)) == 1:
            self.send(TranscriptLine(speaker="caller", text="a table for two"))
            self.say(1, bytes([0x90]) * 8 * 300)
            self.send(UtteranceEnd(utterance=1))
            self.send(TranscriptLine(speaker="bot", text="certainly", utterances=[1]))


async def test_turns_have_the_times_of_the_wire(stage: Stage) -> None:
    stage.pool.new_worker = Answering
    pcm, rate_hz = Synthesizer().speak("I would like a table for two please")
    spoken = encode(resample(pcm, rate_hz, 8000), PCMU)
    silence = PCMU.silence(SILENCE_MS)
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        await caller.talk(silence + spoken + silence + silence)
        await caller.stop()
        await stage.front.ended(stage.call_id)
    said, answered = (entry.data for entry in stage.front.of(stage.call_id, "turn"))
    (began, *_), (stopped, *_) = worker.of(SpeechStarted), worker.of(SpeechStopped)
    assert SILENCE_MS <= began.at_ms <= SILENCE_MS + 600
    assert said["speaker"] == "caller"
    assert said["started_ms"] == began.at_ms - 200
    assert said["ended_ms"] == stopped.at_ms - 200
    assert answered["text"] == answered["heard_text"] == "certainly"
    assert answered["latency_ms"] >= 200, "the detector itself waits for 200 ms of quiet"
    assert answered["started_ms"] >= said["ended_ms"] + answered["latency_ms"]
    assert answered["ended_ms"] - answered["started_ms"] == 300
