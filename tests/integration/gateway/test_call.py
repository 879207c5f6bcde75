"""Calls through a gateway process, from the hand-over to the journal's last entry."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.gateway.conftest import Stage
from tests.integration.gateway.peers import Worker, call, facts
from tests.support.waiting import eventually
from trunkline.audio import Encoding, MediaFormat, decode, read_wav
from trunkline.dispatch.messages import (
    Checkpoint,
    ClearAudio,
    DtmfPressed,
    EndCall,
    MarkReached,
    Played,
    PlayMark,
    SessionEnding,
    SpokenText,
    TranscriptLine,
    UtteranceEnd,
)


def silent_worker() -> Worker:
    return Worker(echoes=False)


def speech(ms: int) -> bytes:
    """PCMU that decodes and encodes to itself: no byte is negative zero."""
    return bytes(0x80 + index % 0x7F for index in range(ms * 8))


async def test_audio_goes_to_the_worker_and_back(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        spoken = bytes(range(256)) * 20
        await caller.talk(spoken)
        await eventually(lambda: bytes(caller.heard) == spoken, what="the whole echo")
        await caller.stop()
        ended = await stage.front.ended(stage.call_id)
    assert bytes((await stage.pool.worker(stage.call_id)).heard) == spoken
    assert ended["how"] == "stop"
    kinds = [entry.kind for entry in stage.front.entries]
    assert kinds == ["stream_started", "bot_started", "stream_ended"]
    stats = ended["stats"]
    assert stats["frames_in"] == 32
    assert stats["bytes_out"] == len(spoken)
    assert stats["dropped_bytes_in"] == stats["dropped_bytes_out"] == stats["gaps_in"] == 0


async def test_audio_before_the_worker_is_there_waits_for_it(stage: Stage) -> None:
    stage.pool.new_worker = silent_worker
    held: asyncio.Event = asyncio.Event()
    stage.pool.gate = held
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        spoken = speech(300)
        await caller.talk(spoken)
        held.set()
        worker = await stage.pool.worker(stage.call_id)
        await eventually(lambda: bytes(worker.heard) == spoken, what="what was said before")


async def test_bot_speech_is_sent_ahead_by_the_lead_only_and_reported_as_it_plays(
    stage: Stage,
) -> None:
    stage.pool.new_worker = silent_worker
    async with call(stage.front, facts(stage.call_id, lead_ms=200)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        audio = speech(1000)
        said_s = asyncio.get_running_loop().time()
        worker.say(7, audio)
        worker.send(UtteranceEnd(utterance=7))
        worker.send(PlayMark(name="end"))
        talking = asyncio.get_running_loop().create_task(caller.talk(bytes([0xFF]) * 8 * 1600))
        await eventually(lambda: caller.heard, what="the first audio")
        passed_ms = (asyncio.get_running_loop().time() - said_s) * 1000
        assert len(caller.heard) <= (200 + passed_ms + 20) * 8
        assert len(caller.heard) < len(audio)
        await eventually(lambda: bytes(caller.heard) == audio, what="all audio")
        await eventually(lambda: worker.of(MarkReached), what="the mark")
        assert worker.of(MarkReached) == [MarkReached(name="end")]
        await eventually(lambda: any(played.done for played in worker.of(Played)), what="its end")
        played = [message.played_ms for message in worker.of(Played)]
        assert played == sorted(played)
        assert played[-1] == 1000
        assert len(played) >= 5
        await talking
        await caller.stop()
        assert (await stage.front.ended(stage.call_id))["stats"]["marks_stale"] == 0


async def test_clear_drops_what_was_not_heard_and_flushed_marks_are_not_played(
    stage: Stage,
) -> None:
    stage.pool.new_worker = silent_worker
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        talking = asyncio.get_running_loop().create_task(caller.talk(bytes([0xFF]) * 8 * 1500))
        worker.say(1, speech(5000))
        worker.send(PlayMark(name="never"))
        worker.send(SpokenText(utterance=1, offset_ms=0, text="one two three four five"))
        await eventually(
            lambda: any(played.played_ms >= 300 for played in worker.of(Played)), what="some of it"
        )
        worker.send(ClearAudio())
        worker.send(TranscriptLine(speaker="bot", text="one two three four five", utterances=[1]))
        await eventually(lambda: caller.clears == 1, what="the clear")
        await eventually(lambda: any(p.cleared for p in worker.of(Played)), what="the report")
        (cut,) = [played for played in worker.of(Played) if played.cleared]
        assert 300 <= cut.played_ms <= 1500
        assert worker.of(MarkReached) == [MarkReached(name="never", cleared=True)]
        sent_bytes = len(caller.heard)
        turn = (await stage.front.wait_for(stage.call_id, "turn")).data
        assert turn["interrupted"] is True
        assert "one two three four five".startswith(turn["heard_text"])
        assert turn["heard_text"] != "one two three four five"
        await talking
        assert len(caller.heard) == sent_bytes, "cleared audio was sent afterwards"
        await caller.stop()
        stats = (await stage.front.ended(stage.call_id))["stats"]
        assert stats["cleared_bytes_out"] + sent_bytes == 5000 * 8
        assert not any(played.done for played in worker.of(Played))


async def test_digits_reach_the_bot_and_the_journal(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        digit = {"event": "dtmf", "streamSid": caller.stream_id}
        await caller.send({**digit, "dtmf": {"track": "inbound_track", "digit": "5"}})
        await eventually(lambda: worker.of(DtmfPressed), what="the digit")
        assert worker.of(DtmfPressed) == [DtmfPressed(digit="5")]
        assert (await stage.front.wait_for(stage.call_id, "dtmf")).data["digit"] == "5"


async def test_when_the_bot_ends_the_call_its_last_words_are_heard_first(stage: Stage) -> None:
    stage.pool.new_worker = silent_worker
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        loop = asyncio.get_running_loop()
        talking = loop.create_task(caller.talk(bytes([0xFF]) * 8 * 1200))
        farewell = speech(800)
        said_s = loop.time()
        worker.say(1, farewell)
        worker.send(UtteranceEnd(utterance=1))
        worker.send(EndCall())
        wanted = await stage.front.wait_for(stage.call_id, "hangup_wanted")
        assert loop.time() - said_s >= 0.75
        assert bytes(caller.heard) == farewell
        assert wanted.data == {"by": "bot", "reason": "completed"}
        await talking
        await caller.stop()  # as the carrier does once the front has ended the leg
        ended = await stage.front.ended(stage.call_id)
        assert (ended["how"], ended["by"], ended["reason"]) == ("stop", "bot", "completed")
        assert worker.of(SessionEnding) == [SessionEnding(reason="ended")]


async def test_without_a_stop_the_gateway_closes_after_the_hang_up(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        worker.send(EndCall(reason="completed"))
        ended = await stage.front.ended(stage.call_id)
        assert (ended["how"], ended["close_code"], ended["by"]) == ("closed", 1000, "bot")
        await eventually(lambda: caller.close_code == 1000, what="the close frame")


async def test_a_lost_socket_is_told_from_a_closed_one(stage: Stage) -> None:
    async with call(stage.front, facts(f"lost-{stage.call_id}")) as caller:
        await caller.start()
        worker = await stage.pool.worker(f"lost-{stage.call_id}")
        caller.websocket.transport.abort()
        ended = await stage.front.ended(f"lost-{stage.call_id}")
        assert (ended["how"], ended["close_code"], ended["reason"]) == ("lost", 1006, "")
        assert worker.of(SessionEnding) == [SessionEnding(reason="lost")]
    async with call(stage.front, facts(f"closed-{stage.call_id}")) as caller:
        await caller.start()
        await stage.pool.worker(f"closed-{stage.call_id}")
        await caller.websocket.close(1001)
        ended = await stage.front.ended(f"closed-{stage.call_id}")
        assert (ended["how"], ended["close_code"]) == ("closed", 1001)


async def test_a_stream_that_never_starts_is_closed(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id, start_timeout_s=0.3)) as caller:
        ended = await stage.front.ended(stage.call_id)
        assert ended["how"] == "never_started"
        await eventually(lambda: caller.close_code == 1008, what="the close frame")
    assert stage.pool.claims == []


async def test_the_longest_duration_ends_the_call(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id, max_duration_s=0.5)) as caller:
        await caller.start()
        wanted = await stage.front.wait_for(stage.call_id, "hangup_wanted")
        assert wanted.data == {"by": "platform", "reason": "max_duration"}


async def test_silence_of_both_sides_ends_the_call(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id, silence_timeout_s=0.5)) as caller:
        await caller.start()
        wanted = await stage.front.wait_for(stage.call_id, "hangup_wanted")
        assert wanted.data == {"by": "platform", "reason": "silence"}


async def test_a_second_stream_replaces_the_first_and_has_its_conversation(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as first:
        await first.start()
        worker = await stage.pool.worker(stage.call_id)
        worker.send(Checkpoint(messages=[{"role": "user", "content": "hello"}]))
        worker.send(PlayMark(name="checkpoint was read"))
        await eventually(lambda: worker.of(MarkReached), within_s=5, what="the worker's mark")
        del stage.pool.workers[stage.call_id]
        async with call(stage.front, facts(stage.call_id, stream_number=2)) as second:
            await second.start()
            await eventually(lambda: first.close_code == 1012, what="the first one's end")
            replacement = await stage.pool.worker(stage.call_id)
            assert replacement.call.attempt == 2
            assert replacement.call.history == [{"role": "user", "content": "hello"}]
            assert (await stage.front.ended(stage.call_id))["how"] == "replaced"
            await second.stop()
            await eventually(
                lambda: (
                    [e.data["how"] for e in stage.front.of(stage.call_id, "stream_ended")]
                    == ["replaced", "stop"]
                ),
                what="both ends",
            )


async def test_the_recording_holds_both_sides_where_they_were_heard(
    stage: Stage, tmp_path: Path
) -> None:
    stage.pool.new_worker = silent_worker
    path = tmp_path / "recordings" / "call.wav"
    async with call(stage.front, facts(stage.call_id, recording_path=str(path))) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        said, answer = speech(1600), speech(600)
        talking = asyncio.get_running_loop().create_task(caller.talk(said))
        await eventually(lambda: len(worker.heard) >= 320, what="the caller's first words")
        worker.say(1, answer)
        worker.send(UtteranceEnd(utterance=1))
        await talking
        await caller.stop()
        ended = await stage.front.ended(stage.call_id)
    assert ended["recording_path"] == str(path)
    assert ended["stats"]["recording_gaps"] == 0
    wav = read_wav(path)
    assert (wav.channels, wav.sample_rate_hz) == (2, 8000)
    left, right = tracks(wav.pcm)
    assert left == decoded(said)
    begin = right.index(decoded(answer)[:20]) // 2
    assert right[2 * begin : 2 * begin + 2 * len(answer)] == decoded(answer)
    assert not any(right[: 2 * begin])
    assert 320 <= begin <= 320 + 8 * 500


def tracks(pcm: bytes) -> tuple[bytes, bytes]:
    left = b"".join(pcm[at : at + 2] for at in range(0, len(pcm), 4))
    right = b"".join(pcm[at + 2 : at + 4] for at in range(0, len(pcm), 4))
    return left, right


def decoded(payload: bytes) -> bytes:
    return decode(payload, MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000))
