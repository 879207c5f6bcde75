"""Vobiz streams, bidirectional: JSON text messages, µ-law or L16.

https://www.vobiz.ai/docs/xml/stream
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.dialects.play_audio import PlayAudioRules, PlayAudioStream
from trunkline.telephony.carrier import CarrierAccount

__all__ = ["RULES", "new_stream", "new_stream_with", "stream_options"]

RULES = PlayAudioRules(
    carrier="vobiz",
    # 20 to 60 ms are advised.
    message_ms=60,
    audio_names_stream=True,
    # Keys are pressed by REST.
    sends_dtmf=False,
    # The polite end: the call goes on with the next element, and a plain close may be redialled.
    closes_with_stop=True,
    # Audio sent between clearAudio and clearedAudio may be cleared with the rest.
    held_until_cleared_ms=1000,
    # Media before start has been seen: a second of it is kept.
    early_frames=50,
)


RECEIVED_BIG_ENDIAN, SENT_BIG_ENDIAN = "received_big_endian", "sent_big_endian"
"""Stream options, ``true`` or anything else: byte order of L16, which is disputed."""


def new_stream() -> PlayAudioStream:
    """Make the core of one media socket, for µ-law or little-endian L16.

    It opens with ``start`` and ends without ``stop``.
    """
    return PlayAudioStream(RULES)


def new_stream_with(options: Mapping[str, str]) -> PlayAudioStream:
    """Make the core of one media socket as an account's options want it."""
    return PlayAudioStream(
        replace(
            RULES,
            received_big_endian=options.get(RECEIVED_BIG_ENDIAN) == "true",
            sent_big_endian=options.get(SENT_BIG_ENDIAN) == "true",
        )
    )


def stream_options(account: CarrierAccount) -> Mapping[str, str]:
    """Return what of an account's settings differs from the default."""
    holder = VobizAccount.require(account)
    wanted = {
        RECEIVED_BIG_ENDIAN: holder.received_big_endian,
        SENT_BIG_ENDIAN: holder.sent_big_endian,
    }
    return {name: "true" for name, is_big_endian in wanted.items() if is_big_endian}
