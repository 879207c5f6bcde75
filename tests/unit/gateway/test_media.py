from __future__ import annotations

from pathlib import Path

import msgspec

from trunkline import carriers
from trunkline.audio import Encoding, MediaFormat, read_wav
from trunkline.dispatch.messages import AgentSpec, CallFacts, Message, Played
from trunkline.gateway.media import CallMedia, started_entry
from trunkline.gateway.recorder import Recorder
from trunkline.gateway.stats import Stats
from trunkline.telephony.media import AudioReceived, StreamStarted

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
L16 = MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000)
AGENT = AgentSpec(name="front-desk", kind="pipeline")
FACTS = CallFacts(call_id="call-1", carrier="twilio", direction="inbound", agent=AGENT)
START = (
    '{"event":"start","streamSid":"MZ1",'
    '"start":{"accountSid":"AC1","callSid":"CA1","streamSid":"MZ1"}}'
)


def started(sent_format: MediaFormat = PCMU) -> StreamStarted:
    return StreamStarted(
        stream_id="MZ1",
        carrier_call_id="CA1",
        account_id="AC1",
        received_format=PCMU,
        sent_format=sent_format,
        parameters={"a": "b"},
    )


class Call:
    def __init__(self, sent_format: MediaFormat = PCMU) -> None:
        carrier = carriers.get("twilio")
        core = carrier.require_stream()
        core.receive_message(START, 0)
        self.stats = Stats()
        self.told: list[Message] = []
        self.turns: list[dict[str, object]] = []
        self.media = CallMedia(
            started(sent_format),
            FACTS,
            carrier.features,
            core=core,
            stats=self.stats,
            flush=lambda: None,
            tell=self.told.append,
            write_turn=self.turns.append,
            now_ms=0,
        )

    def hear(self, ms: int) -> None:
        """Caller audio in real time up to ``ms``."""
        while self.media.received_ms < ms:
            at_ms = self.media.received_ms
            self.media.receive(AudioReceived(bytes(160), at_ms), at_ms + 20)


def test_received_audio_moves_the_clock_and_is_counted() -> None:
    call = Call()
    call.hear(200)
    assert call.media.position(200) == 1600
    assert call.media.position_ms(200) == 200
    assert (call.stats.frames_in, call.stats.bytes_in) == (10, 1600)


def test_positions_are_in_samples_of_the_sent_format() -> None:
    call = Call(sent_format=L16)
    call.hear(200)
    assert call.media.position(200) == 3200


def test_received_frames_are_the_beat_of_the_playout() -> None:
    call = Call()
    call.media.playout.push_audio(1, 0, bytes(8000), 0)
    assert call.stats.bytes_out == 400 * 8
    call.hear(200)
    assert call.stats.bytes_out == 600 * 8


def test_the_end_cuts_what_was_not_heard_and_closes_the_accounts() -> None:
    call = Call()
    call.hear(100)
    call.media.receive(AudioReceived(bytes(160), 600), 620)
    call.media.playout.push_audio(1, 0, bytes(8000), call.media.position(620))
    assert call.media.is_anyone_heard
    assert call.media.stop(720) == 620
    assert call.told == [Played(utterance=1, played_ms=0, cleared=True)]
    assert (call.stats.gaps_in, call.stats.gap_ms_in, call.stats.late_in) == (1, 500, 1)
    assert not call.media.is_anyone_heard


def test_both_sides_are_recorded(tmp_path: Path) -> None:
    recorder = Recorder()
    call = Call()
    call.media.record(recorder, str(tmp_path / "call.wav"))
    call.hear(500)
    call.media.playout.push_audio(1, 0, bytes([0x90]) * 1600, call.media.position(500))
    call.hear(1000)
    call.media.tick(1000)
    call.media.stop(1000)
    assert call.media.recording is not None
    call.media.recording.close(lambda: None)
    recorder.close()
    wav = read_wav(tmp_path / "call.wav")
    assert len(wav.pcm) == 8000 * 4
    right = [wav.pcm[at + 2 : at + 4] != b"\0\0" for at in range(0, len(wav.pcm), 4)]
    assert right.index(True) == 4000
    assert sum(right) == 1600


def test_the_journals_entry_has_no_object_of_ours() -> None:
    entry = started_entry(started(), msgspec.structs.replace(FACTS, stream_number=2))
    assert entry["parameters"] == {"a": "b"}
    assert (entry["received_encoding"], entry["sent_rate_hz"]) == ("PCMU", 8000)
    assert entry["stream_number"] == 2
