from __future__ import annotations

from trunkline.audio import Encoding, MediaFormat, decode, encode, parse_wav, tone
from trunkline.simulator.line import Line

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
FRAME = 160  # bytes of 20 ms


def speech(duration_ms: int) -> bytes:
    return encode(tone(440, duration_ms, 8000), PCMU)


class Once:
    """Acts in the first frame only."""

    def __init__(self, act: str) -> None:
        self.act_name = act
        self.frames = 0

    def act(self, line: Line) -> None:
        self.frames += 1
        if self.frames > 1:
            return
        match self.act_name:
            case "say":
                line.say(tone(300, 50, 16000), 16000)
            case "press":
                line.press("5")
            case _:
                line.hang_up()


def test_a_silent_line_sends_whole_frames_of_silence() -> None:
    line = Line(media_format=PCMU)

    assert [line.tick().said for _ in range(3)] == [PCMU.silence(20)] * 3
    assert line.now_ms == 60


def test_what_is_said_is_resampled_cut_into_frames_and_filled_up() -> None:
    line = Line(media_format=PCMU, human=Once("say"))
    frames = [line.tick().said for _ in range(5)]

    assert {len(frame) for frame in frames} == {FRAME}
    loud = [frame != PCMU.silence(20) for frame in frames]
    assert loud == [True, True, True, False, False]  # 50 ms
    assert not line.is_saying


def test_a_key_goes_out_once_and_makes_no_sound() -> None:
    line = Line(media_format=PCMU, human=Once("press"))
    first, second = line.tick(), line.tick()

    assert (list(first.digits), list(second.digits)) == (["5"], [])
    assert first.said == PCMU.silence(20)


def test_who_has_hung_up_does_nothing_more() -> None:
    human = Once("hang up")
    line = Line(media_format=PCMU, human=human)
    for _ in range(3):
        line.tick()

    assert line.has_hung_up
    assert human.frames == 1


def test_received_audio_plays_at_the_pace_of_the_line() -> None:
    line = Line(media_format=PCMU)
    line.playout.append(speech(100))
    line.playout.mark("end")
    marks = [list(line.tick().marks) for _ in range(6)]

    assert marks == [[], [], [], [], ["end"], []]
    assert line.heard.onset_ms == 0
    assert line.counts().played_bytes == 5 * FRAME


def test_late_audio_is_a_gap() -> None:
    line = Line(media_format=PCMU)
    line.playout.append(speech(20))
    line.tick()
    line.tick()
    line.playout.append(speech(20))
    line.tick()

    assert line.counts().gaps == 1


def test_an_utterance_that_was_marked_as_finished_leaves_no_gap() -> None:
    line = Line(media_format=PCMU)
    line.playout.append(speech(20))
    line.playout.mark("done")
    line.tick()
    line.tick()
    line.playout.append(speech(20))
    line.tick()

    assert line.counts().gaps == 0


def test_a_pause_between_utterances_is_no_gap() -> None:
    line = Line(media_format=PCMU)
    line.playout.append(speech(20))
    for _ in range(15):
        line.tick()
    line.playout.append(speech(20))
    line.tick()

    assert line.counts().gaps == 0


def test_clear_is_counted_and_silences_the_line_with_the_next_frame() -> None:
    line = Line(media_format=PCMU)
    line.playout.append(speech(200))
    line.playout.mark("end")
    line.tick()

    assert line.clear() == ["end"]
    assert line.tick().marks == []
    counts = line.counts()
    assert (counts.clears, counts.played_bytes, counts.cleared_bytes) == (1, FRAME, 9 * FRAME)


def test_the_recording_has_the_caller_left_and_the_bot_right() -> None:
    line = Line(media_format=PCMU, human=Once("say"))
    bot = speech(40)
    line.playout.append(bot)
    said = b"".join(line.tick().said for _ in range(4))

    wav = parse_wav(line.recording())
    assert (wav.channels, wav.sample_rate_hz) == (2, 8000)
    left = b"".join(wav.pcm[at : at + 2] for at in range(0, len(wav.pcm), 4))
    right = b"".join(wav.pcm[at : at + 2] for at in range(2, len(wav.pcm), 4))
    assert encode(left, PCMU) == said
    assert right == decode(bot + PCMU.silence(40), PCMU)
