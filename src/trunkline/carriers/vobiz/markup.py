"""Vobiz XML, what Vobiz is answered with (https://www.vobiz.ai/docs/xml)."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.carriers.vobiz.account import StreamEncoding, VobizAccount
from trunkline.dialects.stream_markup import StreamMarkup
from trunkline.telephony.carrier import CarrierAccount

__all__ = ["MARKUP", "account_markup"]

_CONTENT_TYPES: Mapping[StreamEncoding, str] = {
    StreamEncoding.PCMU: "audio/x-mulaw;rate=8000",
    StreamEncoding.L16_8K: "audio/x-l16;rate=8000",
    StreamEncoding.L16_16K: "audio/x-l16;rate=16000",
}


def _markup(encoding: StreamEncoding) -> StreamMarkup:
    return StreamMarkup(
        content_type=_CONTENT_TYPES[encoding],
        # A lost socket is not redialled: the call goes on with <Redirect>, and a close of ours is
        # an end. Stated, though it is the default.
        stream_attributes={"maxRetries": "0"},
        dialled=lambda number: number.removeprefix("+"),
    )


MARKUP = _markup(StreamEncoding.PCMU)
"""``Markup`` of Vobiz. Numbers in ``<Dial>`` are digits."""


def account_markup(account: CarrierAccount) -> StreamMarkup:
    """Return ``MARKUP`` with the encoding that an account asks for."""
    return _markup(VobizAccount.require(account).stream_encoding)
