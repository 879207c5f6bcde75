from __future__ import annotations

from collections.abc import Sequence

from trunkline.audio import Encoding, MediaFormat, encode, tone
from trunkline.simulator.caller import (
    BotFinished,
    BotSpoke,
    Caller,
    CallerEvent,
    CallerHungUp,
    CallerPressed,
    CallerSaid,
    HangUp,
    InterruptAfter,
    Pause,
    Press,
    Say,
    Step,
    WaitForBotSilence,
    WaitForBotSpeech,
    WaitForHangup,
    prepare,
)
from trunkline.simulator.line import Line

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
SENTENCE = Say(text="hello", pcm16=tone(300, 400, 8000))


def bot(duration_ms: int) -> bytes:
    return encode(tone(440, duration_ms, 8000), PCMU)


class Call:
    """A caller on a line, and a bot that speaks at times of the line."""

    def __init__(self, steps: Sequence[Step], bot_at: dict[int, bytes] | None = None) -> None:
        self.events: list[CallerEvent] = []
        self.caller = Caller(steps, on_event=self.events.append)
        self.line = Line(media_format=PCMU, human=self.caller)
        self.digits: list[str] = []
        self._bot_at = bot_at or {}

    def run(self, duration_ms: int, *, clear_at: int | None = None) -> Call:
        for _ in range(duration_ms // 20):
            self.line.playout.append(self._bot_at.get(self.line.now_ms, b""))
            if self.line.now_ms == clear_at:
                self.line.clear()
            self.digits += self.line.tick().digits
        return self

    def times(self, kind: type[CallerEvent]) -> list[int]:
        return [event.at_ms for event in self.events if isinstance(event, kind)]


def test_the_caller_waits_for_the_bot_and_then_speaks() -> None:
    call = Call([WaitForBotSilence(silence_ms=500), SENTENCE], {200: bot(1000)}).run(3000)

    (turn,) = call.caller.turns
    assert 1700 <= turn.started_ms <= 1720
    assert turn.text == "hello"
    assert not turn.interrupted_bot


def test_response_latency_runs_from_the_callers_last_word_to_the_bots_first() -> None:
    call = Call([SENTENCE, WaitForBotSilence()], {1000: bot(500)}).run(3000)

    (turn,) = call.caller.turns
    assert turn.ended_ms is not None
    assert abs(turn.ended_ms - 420) <= 20
    assert turn.response_ms == 1000 - turn.ended_ms
    spoke = [event for event in call.events if isinstance(event, BotSpoke)]
    assert [event.response_ms for event in spoke] == [turn.response_ms]


def test_silence_at_the_end_of_a_recording_is_not_speech() -> None:
    padded = Say(text="hello", pcm16=tone(300, 400, 8000) + bytes(16000))  # a second of nothing
    call = Call([padded, WaitForBotSilence()], {800: bot(500)}).run(3000)

    (turn,) = call.caller.turns
    assert turn.ended_ms is not None
    assert turn.ended_ms <= 440
    assert turn.response_ms == 800 - turn.ended_ms


def test_only_the_first_answer_counts_as_the_response() -> None:
    call = Call([SENTENCE, WaitForBotSilence(silence_ms=900)], {1000: bot(200), 1700: bot(200)})
    call.run(4000)

    assert call.caller.turns[0].response_ms is not None
    assert call.caller.turns[0].response_ms < 700


def test_an_interruption_is_measured_until_the_bot_is_silent() -> None:
    steps = [InterruptAfter(speech_ms=600), SENTENCE, WaitForBotSilence(silence_ms=400)]
    call = Call(steps, {100: bot(5000), 2000: bot(300)}).run(4000, clear_at=1000)

    (turn,) = call.caller.turns
    assert turn.interrupted_bot
    assert 700 <= turn.started_ms <= 740
    assert turn.bot_silent_after_ms == 1000 - turn.started_ms
    finished = [event for event in call.events if isinstance(event, BotFinished)]
    assert finished[0].interrupted
    # What it says next is its answer.
    assert turn.response_ms == 2000 - (turn.ended_ms or 0)


def test_what_the_bot_said_before_the_caller_had_finished_is_no_answer() -> None:
    steps = [SENTENCE, WaitForBotSilence(silence_ms=300), Press(digit="1")]
    call = Call(steps, {100: bot(200), 1500: bot(200)}).run(3000)

    assert call.digits == ["1"]
    assert call.times(CallerPressed)[0] >= 2000


def test_keys_are_pressed_and_told() -> None:
    call = Call([Press(digit="4"), Press(digit="2")]).run(100)

    assert call.digits == ["4", "2"]
    assert len(call.times(CallerPressed)) == 2


def test_a_wait_in_vain_is_on_record_and_the_script_goes_on() -> None:
    steps = [WaitForBotSpeech(within_ms=200), WaitForBotSilence(within_ms=200)]
    call = Call([*steps, InterruptAfter(within_ms=200), HangUp()]).run(1000)

    assert len(call.caller.missed) == 3
    assert call.line.has_hung_up
    assert 600 <= call.times(CallerHungUp)[0] <= 660


def test_waiting_for_speech_ends_as_soon_as_it_is_there() -> None:
    call = Call([WaitForBotSpeech(), HangUp()], {500: bot(1000)}).run(2000)

    assert call.times(CallerHungUp) == [520]
    assert call.caller.missed == []


def test_a_pause_lasts_as_long_as_it_says() -> None:
    call = Call([Pause(duration_ms=300), HangUp()]).run(1000)

    assert call.times(CallerHungUp) == [320]


def test_a_bot_that_never_hangs_up_is_hung_up_on() -> None:
    call = Call([WaitForHangup(within_ms=400)]).run(1000)

    assert call.caller.missed == ["the bot did not hang up"]
    assert call.line.has_hung_up


def test_after_its_script_the_caller_stays_for_the_bot() -> None:
    call = Call([Press(digit="1")]).run(20_000)

    assert not call.line.has_hung_up


def test_a_recording_of_silence_ends_when_it_ends() -> None:
    call = Call([Say(text="", pcm16=bytes(3200))]).run(500)

    assert call.caller.turns[0].ended_ms == 220
    assert call.times(CallerSaid) == [220]


class Beeper:
    def __init__(self) -> None:
        self.spoken: list[str] = []

    def speak(self, text: str) -> tuple[bytes, int]:
        self.spoken.append(text)
        return b"\1\0" * 10, 22050


def test_prepare_gives_a_voice_to_what_has_only_text() -> None:
    voice = Beeper()
    steps = prepare([Say(text="a"), SENTENCE, Press(digit="1"), Say(text="")], voice)

    assert voice.spoken == ["a"]
    assert steps[0] == Say(text="a", pcm16=b"\1\0" * 10, sample_rate_hz=22050)
    assert steps[1:] == [SENTENCE, Press(digit="1"), Say(text="")]
