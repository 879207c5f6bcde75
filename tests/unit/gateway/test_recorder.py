from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from trunkline.audio import Encoding, MediaFormat, decode, read_wav
from trunkline.gateway.marks import PlayedAudio
from trunkline.gateway.recorder import Recorder, Recording

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
L16_16K = MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000)


def close(recording: Recording) -> None:
    closed = threading.Event()
    recording.close(closed.set)
    assert closed.wait(5)


def tracks(path: Path) -> tuple[np.ndarray, np.ndarray]:
    samples = np.frombuffer(read_wav(path).pcm, "<i2").reshape(-1, 2)
    return samples[:, 0], samples[:, 1]


def pcm(payload: bytes) -> np.ndarray:
    return np.frombuffer(decode(payload, PCMU), "<i2")


def payload(ms: int, seed: int = 0) -> bytes:
    return bytes(np.random.default_rng(seed).integers(0x80, 0xFF, ms * 8).astype(np.uint8))


def test_both_sides_lie_where_they_belong(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "deep" / "call.wav", PCMU, PCMU)
    caller, bot = payload(2500), payload(900, seed=1)
    for at in range(0, len(caller), 160):
        recording.add_caller(at, caller[at : at + 160])
        if at == 8000:
            recording.add_bot([PlayedAudio(4000, bot[:3200]), PlayedAudio(7200, bot[3200:])])
        recording.roll(at + 160)
    recording.roll(len(caller), is_last=True)
    close(recording)
    recorder.close()
    left, right = tracks(tmp_path / "deep" / "call.wav")
    assert np.array_equal(left, pcm(caller))
    assert np.array_equal(right[8000 : 4000 + len(bot)], pcm(bot)[4000:])
    assert not right[4000 + len(bot) :].any()
    assert recording.gaps == 0


def test_missing_caller_audio_is_silence(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    recording.add_caller(0, payload(100))
    recording.add_caller(400 * 8, payload(100, seed=2))
    recording.roll(500 * 8, is_last=True)
    close(recording)
    recorder.close()
    left, _ = tracks(tmp_path / "call.wav")
    assert len(left) == 500 * 8
    assert np.array_equal(left[3200:], pcm(payload(100, seed=2)))
    assert not left[800:3200].any()


def test_what_crosses_a_blocks_end_is_not_lost(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    caller, bot = payload(3000), payload(3000, seed=1)
    recording.add_caller(0, caller)
    recording.add_bot([PlayedAudio(0, bot)])
    for until in (8001, 16003, 24000):
        recording.roll(until)
    recording.roll(24000, is_last=True)
    close(recording)
    recorder.close()
    left, right = tracks(tmp_path / "call.wav")
    assert np.array_equal(left, pcm(caller))
    assert np.array_equal(right, pcm(bot))


def test_a_bot_at_another_rate_is_resampled_to_the_callers(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "call.wav", PCMU, L16_16K)
    tone = (np.sin(np.arange(32000) * 2 * np.pi * 400 / 16000) * 8000).astype("<i2").tobytes()
    recording.add_caller(0, payload(3000))
    recording.add_bot([PlayedAudio(8000, tone)])  # half a second in, at the bot's own rate
    recording.roll(24000, is_last=True)
    close(recording)
    recorder.close()
    _, right = tracks(tmp_path / "call.wav")
    assert not right[:3990].any()
    assert np.abs(right[4100:19000]).max() > 7000


class Stuck:
    """Holds the writer thread up, as a disk that hangs."""

    def __init__(self, recorder: Recorder) -> None:
        self.released = threading.Event()
        self.reached = threading.Event()
        assert recorder.submit(self.hold)
        assert self.reached.wait(5)

    def hold(self) -> None:
        self.reached.set()
        self.released.wait(10)


def test_a_slow_disk_costs_a_counted_gap_and_nothing_else(tmp_path: Path) -> None:
    recorder = Recorder(queue_blocks=1)
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    stuck = Stuck(recorder)
    audio = [payload(1000, seed) for seed in range(4)]
    for index in range(3):
        recording.add_caller(index * 8000, audio[index])
        recording.roll((index + 1) * 8000)
    assert recording.gaps == 2
    stuck.released.set()
    written = threading.Event()
    while not recorder.submit(written.set):
        pass
    assert written.wait(5)
    recording.add_caller(24000, audio[3])
    recording.roll(32000, is_last=True)
    done = threading.Event()
    while not recorder.submit(done.set):
        pass
    assert done.wait(5)
    close(recording)
    recorder.close()
    left, _ = tracks(tmp_path / "call.wav")
    assert np.array_equal(left[:8000], pcm(audio[0]))
    assert not left[8000:24000].any()
    assert np.array_equal(left[24000:], pcm(audio[3]))


def test_closing_with_a_full_queue_does_not_wait(tmp_path: Path) -> None:
    recorder = Recorder(queue_blocks=1)
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    stuck = Stuck(recorder)
    assert recorder.submit(lambda: None)
    closed: list[int] = []
    recording.close(lambda: closed.append(1))
    assert closed == [1]
    assert recording.gaps == 1
    stuck.released.set()
    recorder.close()


def test_a_folder_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder()
    recording = recorder.open(tmp_path / "file" / "call.wav", PCMU, PCMU)
    for second in range(3):
        recording.add_caller(second * 8000, payload(1000))
        recording.roll((second + 1) * 8000)
    close(recording)
    recorder.close()
    assert recording.gaps == 3


KILLED = """
import os, sys, threading
from pathlib import Path
from trunkline.audio import Encoding, MediaFormat
from trunkline.gateway.recorder import Recorder
pcmu = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
recorder = Recorder()
recording = recorder.open(Path(sys.argv[1]), pcmu, pcmu)
for second in range(5):
    recording.add_caller(second * 8000, bytes([0x80 + second]) * 8000)
    recording.roll((second + 1) * 8000)
recording.add_caller(40000, bytes(4000))
recording.roll(44000)
done = threading.Event()
recorder.submit(done.set)
done.wait()
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_a_file_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left, right = tracks(path)
    assert len(left) == 5 * 8000
    assert len(set(left[:8000])) == 1
    assert not right.any()
    assert path.stat().st_size == 44 + 5 * 8000 * 4


def test_a_block_is_handed_over_only_when_it_is_whole(tmp_path: Path) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    recording.add_caller(0, payload(999))
    recording.roll(999 * 8)
    done = threading.Event()
    recorder.submit(done.set)
    assert done.wait(5)
    assert not (tmp_path / "call.wav").exists()
    recorder.close()


@pytest.mark.parametrize("until", [0, -1])
def test_nothing_is_no_block(tmp_path: Path, until: int) -> None:
    recorder = Recorder()
    recording = recorder.open(tmp_path / "call.wav", PCMU, PCMU)
    recording.roll(until, is_last=True)
    close(recording)
    recorder.close()
    assert not (tmp_path / "call.wav").exists()
