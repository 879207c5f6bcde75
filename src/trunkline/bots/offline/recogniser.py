"""Speech to text with pocketsphinx and a small grammar. Knows nothing of Pipecat.

Made for the telephone: the acoustic model was trained on 16 kHz, so 8 kHz audio is widened first
and given a trace of noise, without which its empty upper band throws the model off.
"""

from __future__ import annotations

import functools
import importlib
import math
import re
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from trunkline.audio import resample
from trunkline.bots.offline.grammar import Grammar
from trunkline.errors import ConfigError

__all__ = ["DEFAULT_MIN_SCORE", "Heard", "Recogniser", "recogniser_for"]

DEFAULT_MIN_SCORE = -4.7
"""Measured with six espeak-ng voices through PCMU: 1 % of right sentences score lower,
and half (70 of 134) of the sentences that pocketsphinx makes of speech outside the grammar."""

MODEL_RATE_HZ = 16_000

_NOISE_AMPLITUDE = 20.0
_EDGE_SAMPLES = 4800  # 300 ms before and after, which the model takes for a quiet line
_MARGIN_MS = 100  # kept around the loud part: consonants are soft
_SOFT = 0.03  # of the loudest 20 ms, 30 dB below it: not speech
_SILENT_RMS = 50.0  # -56 dBFS; nobody speaks so softly on a telephone
_BLOCK_BYTES = 3200  # 100 ms; pocketsphinx keeps the GIL while it works on a block, about 2 ms
_SMALLEST_PROBABILITY = 1e-320  # the smallest double: a long bad word is rounded to zero
_FILLER = re.compile(r"<.*>|\[.*\]|\+\+.*|\(NULL\)")

_SEARCH = "agent"
_LEVEL_SEARCH = "level"
# Any one word: the search is only there because pocketsphinx will not measure without one.
_LEVEL_WORD = "a"
_LEVEL_JSGF = f"#JSGF V1.0;\ngrammar level;\npublic <level> = {_LEVEL_WORD};\n"


class _Hypothesis(Protocol):
    hypstr: str


class _Segment(Protocol):
    word: str
    start_frame: int
    end_frame: int
    ascore: float


class _StateGraph(Protocol):
    def accept(self, words: str) -> bool: ...


class _Decoder(Protocol):
    """What is used of ``pocketsphinx.Decoder``."""

    def add_jsgf_string(self, name: str, jsgf_string: str) -> None: ...
    def get_fsg(self, name: str) -> _StateGraph: ...
    def activate_search(self, search_name: str) -> None: ...
    def start_utt(self) -> None: ...
    def process_raw(self, data: bytes, no_search: bool = False, full_utt: bool = False) -> None: ...
    def end_utt(self) -> None: ...
    def get_cmn(self, update: bool) -> str: ...
    def set_cmn(self, cmn: str) -> None: ...
    def hyp(self) -> _Hypothesis | None: ...
    def seg(self) -> Iterable[_Segment] | None: ...


class _DecoderClass(Protocol):
    def __call__(
        self, *, samprate: int, loglevel: str, hmm: str, dict: str, lm: None
    ) -> _Decoder: ...


class _Pocketsphinx(Protocol):
    """What is used of the ``pocketsphinx`` package."""

    @property
    def Decoder(self) -> _DecoderClass: ...  # noqa: N802 - the library's name
    def get_model_path(self, subpath: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One utterance that fits the grammar."""

    text: str
    score: float
    """Mean logarithm of the acoustic probability of a 10 ms frame, beside that of the best sounds
    of any kind. 0 is perfect; right sentences lie between -2 and -4.7."""


class Recogniser:
    """Hears what one grammar allows. Safe to use from several threads; they wait for each other.

    Calls may share one: the level is measured anew for each utterance. The estimate of the line's
    noise lives on, so the score of the same audio varies by some tenths; what is heard does not.
    Making one takes about 0.1 s and 15 MB, which a process that forks shares with its children.

    Raises:
        ConfigError: The extra ``offline`` is not installed, a word is not in the dictionary
            (``field`` is ``grammar``, and the message names all such words), or pocketsphinx
            refuses the grammar.
    """

    __slots__ = ("_decoder", "_lock", "_sentences")

    def __init__(self, grammar: Grammar) -> None:
        library = _load_pocketsphinx()
        entries = _pronunciations(
            Path(library.get_model_path("en-us/cmudict-en-us.dict")),
            grammar.words | {_LEVEL_WORD},
        )
        # The whole dictionary would be 130 000 words, 15 MB and 0.1 s more.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".dict") as dictionary:
            dictionary.writelines(entries)
            dictionary.flush()
            self._decoder = library.Decoder(
                samprate=MODEL_RATE_HZ,
                loglevel="FATAL",
                hmm=library.get_model_path("en-us/en-us"),
                dict=dictionary.name,
                lm=None,
            )
        self._lock = threading.Lock()
        self._decoder.add_jsgf_string(_LEVEL_SEARCH, _LEVEL_JSGF)
        try:
            self._decoder.add_jsgf_string(_SEARCH, grammar.jsgf)
            self._decoder.activate_search(_SEARCH)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ConfigError(
                "the grammar cannot be used: it is not valid JSGF", field="grammar"
            ) from error
        self._sentences = self._decoder.get_fsg(_SEARCH)

    def hear(self, pcm16: bytes, rate_hz: int) -> Heard | None:
        """Recognise one whole utterance; a little silence around it does not hurt.

        Blocks for about 25 ms per second of audio, and lets other threads in every few ms.

        Args:
            pcm16: PCM16 mono.
            rate_hz: Its rate, 8000 to 48000 Hz.

        Returns:
            What was said, or None where nothing fits the grammar. Not everything outside the
            grammar is told apart: compare the score with ``DEFAULT_MIN_SCORE``.

        Raises:
            ValueError: ``pcm16`` ends inside a sample, or the rate is out of bounds.
        """
        speech = _without_silence(pcm16, rate_hz)
        if not speech:
            return None
        audio = _widened(speech, rate_hz)
        with self._lock:
            level = self._measure_level(audio)
            return self._search(audio, level)

    def _measure_level(self, audio: bytes) -> str:
        """Return the mean of the utterance's cepstra, which takes out line and loudness.

        pocketsphinx would do so by itself with the whole utterance in one call, but that keeps the
        GIL, and so stops the speech that goes out, for up to 100 ms. Without the whole utterance
        its running mean costs one sentence in seven.
        """
        self._start(_LEVEL_SEARCH)
        self._decoder.process_raw(audio, no_search=True, full_utt=True)
        level = self._decoder.get_cmn(False)
        self._decoder.end_utt()
        return level

    def _start(self, search: str) -> None:
        self._decoder.activate_search(search)
        self._decoder.start_utt()

    def _search(self, audio: bytes, level: str) -> Heard | None:
        self._decoder.set_cmn(level)
        self._start(_SEARCH)
        for start in range(0, len(audio), _BLOCK_BYTES):
            self._decoder.process_raw(audio[start : start + _BLOCK_BYTES])
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        segments = self._decoder.seg()
        if hypothesis is None or segments is None or not hypothesis.hypstr:
            return None
        # Where no whole sentence fits, the decoder gives the beginning of one.
        if not self._sentences.accept(hypothesis.hypstr):
            return None
        score = _mean_score(segments)
        return None if score is None else Heard(text=hypothesis.hypstr, score=score)


@functools.lru_cache(maxsize=4)
def recogniser_for(grammar: Grammar) -> Recogniser:
    """Return the process's recogniser for ``grammar``, made at first use and kept.

    So a process that makes one and then forks hands its children a warm one.

    Raises:
        ConfigError: As for ``Recogniser``.
    """
    return Recogniser(grammar)


def _without_silence(pcm16: bytes, rate_hz: int) -> bytes:
    """Cut the silence before and after speech, all of it where nobody speaks.

    A second of it makes short words unrecognisable, because it counts in the level of the whole.
    """
    samples = np.frombuffer(pcm16, dtype="<i2")
    window = rate_hz // 50
    n_windows = samples.size // window
    if n_windows == 0:
        return b""
    windows = samples[: n_windows * window].reshape(n_windows, window).astype(np.float32)
    rms = np.sqrt(np.mean(windows**2, axis=1))
    loudest = float(rms.max())
    if loudest < _SILENT_RMS:
        return b""
    loud = np.flatnonzero(rms > loudest * _SOFT)
    margin = rate_hz * _MARGIN_MS // 1000
    start = max(0, int(loud[0]) * window - margin)
    end = (int(loud[-1]) + 1) * window + margin
    return samples[start:end].tobytes()


def _widened(pcm16: bytes, rate_hz: int) -> bytes:
    wide = np.frombuffer(resample(pcm16, rate_hz, MODEL_RATE_HZ), dtype="<i2")
    samples = np.pad(wide.astype(np.float32), _EDGE_SAMPLES)
    # Seeded, so that the same audio is always heard alike.
    samples += np.random.default_rng(0).normal(0, _NOISE_AMPLITUDE, samples.size)
    return np.clip(samples, -32768, 32767).astype("<i2").tobytes()


def _mean_score(segments: Iterable[_Segment]) -> float | None:
    """Return the score of the words alone, without silence; None where there is no word."""
    total, n_frames = 0.0, 0
    for segment in segments:
        if not _FILLER.fullmatch(segment.word):
            total += math.log(max(segment.ascore, _SMALLEST_PROBABILITY))
            n_frames += segment.end_frame - segment.start_frame + 1
    return total / n_frames if n_frames else None


def _pronunciations(dictionary: Path, words: frozenset[str]) -> list[str]:
    """Return the dictionary's lines for ``words``: ``word PHONES``, ``word(2) PHONES``."""
    missing = set(words)
    entries: list[str] = []
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            word = line.partition(" ")[0].partition("(")[0]
            if word in words:
                entries.append(line)
                missing.discard(word)
    if missing:
        raise ConfigError(
            f"these words are not in the dictionary: {', '.join(sorted(missing))}"
            " (lower case, and numbers spelled out)",
            field="grammar",
        )
    return entries


def _load_pocketsphinx() -> _Pocketsphinx:
    try:
        return cast("_Pocketsphinx", importlib.import_module("pocketsphinx"))
    except ImportError as error:
        raise ConfigError(
            "recognition without a service needs pocketsphinx: pip install 'trunkline[offline]'"
        ) from error
