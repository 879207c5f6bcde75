"""Text to speech with espeak-ng, called in this process through ctypes. Knows nothing of Pipecat.

The library is one per process: it keeps voice and speed in globals and cannot run twice at once, so
all synthesizers share one engine behind a lock. It is loaded when the first ``Synthesizer`` of a
process is made. Synchronous mode starts no thread and opens no device, so a process may also load
it and fork; the child speaks with the copy it inherits.

Reference: espeak-ng's ``speak_lib.h``, version 1.52.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import threading
from pathlib import Path
from typing import Protocol, cast

from trunkline.errors import ConfigError

__all__ = ["DEFAULT_VOICE", "DEFAULT_WORDS_PER_MINUTE", "Synthesizer"]

DEFAULT_VOICE = "en-us"
DEFAULT_WORDS_PER_MINUTE = 150

SLOWEST_WORDS_PER_MINUTE = 80
FASTEST_WORDS_PER_MINUTE = 450
"""Bounds of espeakRATE in speak_lib.h; espeak-ng clips in silence, we refuse."""

MAX_TEXT_CHARACTERS = 5000
"""About five minutes of speech. A sentence has a hundred; more than this is a mistake upstream."""

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_BUFFER_MS = 0  # the library's own default
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report failure instead of ending the process
_CHARS_UTF8 = 1
_RATE = 1  # espeakRATE
_OK = 0

# A language or voice, then perhaps "+variant". The library makes file names of both.
_VOICE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9 ()_-]*)(?:\+(?P<variant>[A-Za-z0-9]+))?")

# int (short *samples, int count, espeak_EVENT *events)
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class _Loader(Protocol):
    """The two functions of ``espeakng_loader`` that are used."""

    def get_library_path(self) -> str: ...
    def get_data_path(self) -> str: ...


class Synthesizer:
    """One voice at one speed. Safe to use from several threads; they speak one after the other.

    Args:
        voice: espeak-ng's name, such as ``en-us``, with a variant if wanted: ``en-us+f2``. British
            English is ``en``.
        words_per_minute: Speed, 80 to 450.

    Raises:
        ConfigError: The extra ``offline`` is not installed, the library cannot be loaded, there is
            no such voice, or the speed is out of bounds.
    """

    __slots__ = ("_engine", "_voice", "_words_per_minute")

    def __init__(
        self, voice: str = DEFAULT_VOICE, words_per_minute: int = DEFAULT_WORDS_PER_MINUTE
    ) -> None:
        if not SLOWEST_WORDS_PER_MINUTE <= words_per_minute <= FASTEST_WORDS_PER_MINUTE:
            raise ConfigError(
                f"words_per_minute is {words_per_minute}: it must be "
                f"{SLOWEST_WORDS_PER_MINUTE} to {FASTEST_WORDS_PER_MINUTE}",
                field="words_per_minute",
            )
        self._engine = _engine()
        self._engine.check_voice(voice)
        self._voice = voice
        self._words_per_minute = words_per_minute

    @property
    def voice(self) -> str:
        """The voice's name, as given."""
        return self._voice

    def speak(self, text: str) -> tuple[bytes, int]:
        """Say ``text``, without markup. Blocks for about 3 ms a sentence and releases the GIL.

        Two renderings of one text differ by a few samples: the library's voices jitter on purpose.

        Returns:
            PCM16 mono (empty where there is nothing to say) and its rate in Hz, 22050.

        Raises:
            ValueError: ``text`` is longer than 5000 characters.
            RuntimeError: espeak-ng refused the text.
        """
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"{len(text)} characters are too long: {MAX_TEXT_CHARACTERS} at most")
        if not text.strip():
            return b"", self._engine.rate_hz
        pcm16 = self._engine.speak(text, self._voice, self._words_per_minute)
        return pcm16, self._engine.rate_hz


class _Engine:
    """The process's one espeak-ng. Use ``_engine()``; a second one would reset the first."""

    def __init__(self) -> None:
        loader = _load_loader()
        data_folder = loader.get_data_path()
        try:
            self._library = ctypes.CDLL(loader.get_library_path())
        except OSError as error:
            raise ConfigError(f"espeak-ng cannot be loaded on this machine: {error}") from error
        self._variants = Path(data_folder) / "voices" / "!v"
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        # Kept as an attribute: the library holds the pointer, and ctypes would free the function.
        self._on_samples = _Callback(self._collect)
        self.rate_hz = int(
            self._library.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, _BUFFER_MS, data_folder.encode(), _DONT_EXIT
            )
        )
        if self.rate_hz <= 0:
            raise ConfigError(f"espeak-ng cannot start with its data in {data_folder}")
        self._library.espeak_SetSynthCallback(self._on_samples)

    def check_voice(self, voice: str) -> None:
        """Raise ConfigError unless espeak-ng has ``voice``."""
        match = _VOICE.fullmatch(voice)
        variant = match["variant"] if match else None
        # An unknown variant is ignored by the library, in silence.
        known = match is not None and (variant is None or (self._variants / variant).is_file())
        if known:
            with self._lock:
                known = self._library.espeak_SetVoiceByName(voice.encode()) == _OK
        if not known:
            raise ConfigError(f"espeak-ng has no voice {voice!r}", field="voice")

    def speak(self, text: str, voice: str, words_per_minute: int) -> bytes:
        """Return PCM16 mono at ``rate_hz``."""
        # The library reads up to the first NUL.
        encoded = text.replace("\0", " ").encode("utf-8", errors="replace") + b"\0"
        with self._lock:
            self._chunks.clear()
            # Every time, because another synthesizer may have spoken in between.
            status = self._library.espeak_SetVoiceByName(voice.encode())
            if status == _OK:
                status = self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
            if status == _OK:
                status = self._library.espeak_Synth(
                    encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _CHARS_UTF8, None, None
                )
            pcm16 = b"".join(self._chunks)
            self._chunks.clear()
        if status != _OK:
            raise RuntimeError(f"espeak-ng refused to speak: status {status}")
        return pcm16

    def _collect(self, samples: object, count: int, _events: object) -> int:
        """Take a block of samples from the library; 0 asks it to go on."""
        if count > 0:
            self._chunks.append(ctypes.string_at(cast("int", samples), count * 2))
        return 0


_start_lock = threading.Lock()


def _engine() -> _Engine:
    with _start_lock:
        return _start_engine()


@functools.cache
def _start_engine() -> _Engine:
    return _Engine()


def _load_loader() -> _Loader:
    try:
        return cast("_Loader", importlib.import_module("espeakng_loader"))
    except ImportError as error:
        raise ConfigError(
            "speech without a service needs espeak-ng: pip install 'trunkline[offline]'"
        ) from error
