"""The human at the other end: a script of steps, and what the ear makes of the answers.

Pure: the line calls ``act`` for each frame of its own time, and steps wait in that time. So a
script behaves the same at any speed of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from trunkline.simulator.line import Line

__all__ = [
    "BotFinished",
    "BotSpoke",
    "Caller",
    "CallerEvent",
    "CallerHungUp",
    "CallerPressed",
    "CallerSaid",
    "HangUp",
    "InterruptAfter",
    "Pause",
    "Press",
    "Say",
    "Step",
    "Turn",
    "Voice",
    "WaitForBotSilence",
    "WaitForBotSpeech",
    "WaitForHangup",
    "prepare",
]

_LONGEST_WAIT_MS = 20_000


class Voice(Protocol):
    """Makes speech out of text."""

    def speak(self, text: str) -> tuple[bytes, int]:
        """Return PCM16, mono, and its rate in Hz."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Speak. ``pcm16`` is filled in by ``prepare`` where there is only text."""

    text: str = ""
    pcm16: bytes = field(default=b"", repr=False)
    sample_rate_hz: int = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Press one key: ``0-9 * # A-D``."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForBotSpeech:
    """Wait until the bot speaks; at once if it already does."""

    within_ms: int = _LONGEST_WAIT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForBotSilence:
    """Wait until the bot has spoken since our last turn and is then silent for ``silence_ms``."""

    silence_ms: int = 700
    within_ms: int = _LONGEST_WAIT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptAfter:
    """Wait until the bot has been speaking for ``speech_ms``; what is said next interrupts it."""

    speech_ms: int = 800
    within_ms: int = _LONGEST_WAIT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Do nothing for a while."""

    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Put the receiver down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForHangup:
    """Wait until the other end hangs up; after ``within_ms`` hang up ourselves."""

    within_ms: int = 30_000


Step = (
    Say
    | Press
    | WaitForBotSpeech
    | WaitForBotSilence
    | InterruptAfter
    | Pause
    | HangUp
    | WaitForHangup
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One thing that the caller said, and how the bot took it. Times in the line's milliseconds."""

    text: str
    started_ms: int
    ended_ms: int | None = None
    """End of the last loud frame."""
    response_ms: int | None = None
    """From there to the first bot audio heard: the latency that the caller feels."""
    interrupted_bot: bool = False
    """The bot was speaking when the caller began."""
    bot_silent_after_ms: int | None = None
    """For interruptions: from the caller's first word to the last of the bot's that was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSaid:
    """The caller has finished a sentence."""

    at_ms: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerPressed:
    """The caller has pressed a key."""

    at_ms: int
    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BotSpoke:
    """The bot is heard to begin. ``response_ms`` is set where it answers a turn."""

    at_ms: int
    response_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BotFinished:
    """The bot has fallen silent; ``interrupted``: because the caller spoke."""

    at_ms: int
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerHungUp:
    """The caller has put the receiver down."""

    at_ms: int


CallerEvent = CallerSaid | CallerPressed | BotSpoke | BotFinished | CallerHungUp

_Script = Generator[None, Line, None]


def prepare(steps: Sequence[Step], voice: Voice) -> list[Step]:
    """Return the steps with the audio of every ``Say`` that has only text. Slow."""
    ready: list[Step] = []
    for step in steps:
        if isinstance(step, Say) and step.text and not step.pcm16:
            pcm16, sample_rate_hz = voice.speak(step.text)
            ready.append(replace(step, pcm16=pcm16, sample_rate_hz=sample_rate_hz))
        else:
            ready.append(step)
    return ready


class Caller:
    """Carries a script out. After the last step it waits for the bot to hang up.

    Args:
        steps: What to do, in order, with all audio prepared.
        on_event: Told of each event as it happens, for a live display; must not block.
    """

    def __init__(
        self, steps: Sequence[Step], *, on_event: Callable[[CallerEvent], None] | None = None
    ) -> None:
        self.turns: list[Turn] = []
        self.missed: list[str] = []
        """Steps that waited in vain, in words."""
        self._on_event = on_event
        self._script: _Script | None = None
        self._steps = list(steps)
        self._onsets_heard = 0
        self._onsets_answered = 0
        self._bot_spoke = False

    def act(self, line: Line) -> None:
        """Take part in one frame of the call; see ``Human``."""
        self._listen(line)
        if self._script is None:
            self._script = self._run()
            next(self._script)
        try:
            self._script.send(line)
        except StopIteration:
            self._hang_up(line)

    def _tell(self, event: CallerEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _hang_up(self, line: Line) -> None:
        if not line.has_hung_up:
            line.hang_up()
            self._tell(CallerHungUp(at_ms=line.now_ms))

    def _listen(self, line: Line) -> None:
        """Notice when the bot begins and stops."""
        speaking = line.heard.is_speaking(line.now_ms)
        if line.heard.onsets > self._onsets_heard:
            self._onsets_heard = line.heard.onsets
            self._bot_spoke = True
            self._notice_answer(line)
        elif self._bot_spoke and not speaking:
            self._bot_spoke = False
            self._notice_silence(line)

    def _notice_answer(self, line: Line) -> None:
        onset_ms = line.heard.onset_ms
        turn = self.turns[-1] if self.turns else None
        response_ms = None
        if (
            turn is not None
            and onset_ms is not None
            and turn.ended_ms is not None
            and turn.response_ms is None
        ):
            response_ms = onset_ms - turn.ended_ms
            self.turns[-1] = replace(turn, response_ms=response_ms)
        self._tell(BotSpoke(at_ms=onset_ms or line.now_ms, response_ms=response_ms))

    def _notice_silence(self, line: Line) -> None:
        silent_ms = line.heard.last_loud_ms or 0
        turn = self.turns[-1] if self.turns else None
        interrupted = turn is not None and turn.interrupted_bot and turn.bot_silent_after_ms is None
        if turn is not None and interrupted:
            # A bot that fell silent of itself just before counts as silenced at once.
            after_ms = max(0, silent_ms - turn.started_ms)
            self.turns[-1] = replace(turn, bot_silent_after_ms=after_ms)
        self._tell(BotFinished(at_ms=silent_ms, interrupted=interrupted))

    def _run(self) -> _Script:
        line = yield
        for step in self._steps:
            line = yield from self._take(step, line)
        yield from self._take(WaitForHangup(), line)

    def _take(  # noqa: C901 - one arm a step
        self, step: Step, line: Line
    ) -> Generator[None, Line, Line]:
        match step:
            case Say():
                line = yield from self._say(step, line)
            case Press():
                line.press(step.digit)
                self._onsets_answered = line.heard.onsets
                self._tell(CallerPressed(at_ms=line.now_ms, digit=step.digit))
            case WaitForBotSpeech():
                line = yield from self._wait(
                    line, lambda: line.heard.is_speaking(line.now_ms), step, step.within_ms
                )
            case WaitForBotSilence():
                line = yield from self._wait(
                    line,
                    lambda: (
                        line.heard.onsets > self._onsets_answered
                        and line.heard.quiet_ms(line.now_ms) >= step.silence_ms
                    ),
                    step,
                    step.within_ms,
                )
            case InterruptAfter():
                line = yield from self._wait(
                    line, lambda: self._has_spoken_for(line, step.speech_ms), step, step.within_ms
                )
            case Pause():
                until_ms = line.now_ms + step.duration_ms
                while line.now_ms < until_ms:
                    line = yield
            case HangUp():
                self._hang_up(line)
                yield
            case WaitForHangup():
                until_ms = line.now_ms + step.within_ms
                while line.now_ms < until_ms:
                    line = yield
                self.missed.append(_words(step))
                self._hang_up(line)
        return line

    def _has_spoken_for(self, line: Line, speech_ms: int) -> bool:
        heard = line.heard
        return (
            heard.onsets > self._onsets_answered
            and heard.onset_ms is not None
            and heard.is_speaking(line.now_ms)
            and line.now_ms - heard.onset_ms >= speech_ms
        )

    def _wait(
        self, line: Line, condition: Callable[[], bool], step: Step, within_ms: int
    ) -> Generator[None, Line, Line]:
        until_ms = line.now_ms + within_ms
        while not condition():
            if line.now_ms >= until_ms:
                self.missed.append(_words(step))
                break
            line = yield
        return line

    def _say(self, step: Say, line: Line) -> Generator[None, Line, Line]:
        interrupts = line.heard.is_speaking(line.now_ms)
        started_ms = line.now_ms
        self.turns.append(Turn(text=step.text, started_ms=started_ms, interrupted_bot=interrupts))
        line.say(step.pcm16, step.sample_rate_hz)
        while line.is_saying:
            line = yield
        ended_ms = line.said.last_loud_ms
        if ended_ms is None or ended_ms <= started_ms:
            ended_ms = line.now_ms  # nothing loud in it, such as a file of silence
        self._end_turn(line, ended_ms)
        return line

    def _end_turn(self, line: Line, ended_ms: int) -> None:
        turn = replace(self.turns[-1], ended_ms=ended_ms)
        onset_ms = line.heard.onset_ms
        # The silence at the end of the recording is longer than the bot's answer takes.
        answered = onset_ms is not None and onset_ms >= ended_ms
        if answered and onset_ms is not None:
            turn = replace(turn, response_ms=onset_ms - ended_ms)
        self.turns[-1] = turn
        # Whatever the bot said up to here was said before, or over us, and is no answer.
        self._onsets_answered = line.heard.onsets - answered
        self._tell(CallerSaid(at_ms=ended_ms, text=turn.text))


def _words(step: Step) -> str:
    match step:
        case WaitForBotSpeech():
            return "the bot did not speak"
        case WaitForBotSilence():
            return "the bot did not answer, or did not stop speaking"
        case InterruptAfter():
            return "the bot did not speak long enough to be interrupted"
        case WaitForHangup():
            return "the bot did not hang up"
        case _:
            return type(step).__name__
