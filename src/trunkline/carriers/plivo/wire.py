"""Plivo Audio Streaming, bidirectional: JSON text messages, µ-law or L16, the same both ways.

https://www.plivo.com/docs/voice/xml/audio-stream/
"""

from __future__ import annotations

from trunkline.dialects.play_audio import PlayAudioRules, PlayAudioStream

__all__ = ["RULES", "new_stream"]

RULES = PlayAudioRules(
    carrier="plivo",
    # 1600 bytes of µ-law, 6400 of L16 at 16 kHz: well below the 16 kB of base64 that are advised,
    # and a clear never waits behind a long write.
    message_ms=200,
    audio_names_stream=False,
    sends_dtmf=True,
    closes_with_stop=False,
    # What pages and Plivo's own agent library agree on is little-endian L16.
)


def new_stream() -> PlayAudioStream:
    """Make the core of one media socket.

    It opens with ``start``: there is no ``connected`` before, and usually no ``stop`` at the end.
    """
    return PlayAudioStream(RULES)
