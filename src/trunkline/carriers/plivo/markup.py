"""Plivo XML, what Plivo is answered with (https://www.plivo.com/docs/voice/xml/)."""

from __future__ import annotations

from trunkline.dialects.stream_markup import StreamMarkup

__all__ = ["MARKUP"]

MARKUP = StreamMarkup()
"""``Markup`` of Plivo. Numbers in ``<Dial>`` keep their plus."""
