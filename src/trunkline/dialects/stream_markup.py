"""XML of ``<Stream>``, ``<Speak>``, ``<Dial>`` and ``<Hangup>``, as two carriers read it.

docs/carriers/plivo.md, docs/carriers/vobiz.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlencode
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

__all__ = ["STREAM_URL_CHARS", "StreamMarkup"]

STREAM_URL_CHARS = 2048
"""Longest media URL."""

_PARAMETER_CHARS = 1000
"""Longest parameter that gets into the URL, encoded, so that a few of them fit."""

_CONTENT_TYPE = "application/xml"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'

# What XML 1.0 §2.2 cannot carry, not even escaped. One such character would void the document and
# end the call (8011).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_FORWARD_TIMEOUT_S = 30
"""Seconds of ringing until a forwarded call counts as not answered."""


class StreamMarkup:
    """The ``Markup`` of both. Text is escaped, and freed of characters that XML does not have.

    Args:
        content_type: Encoding and rate of the stream, with ``;rate=``.
        stream_attributes: More attributes of ``<Stream>``.
        dialled: Writes an E.164 number as the carrier wants it in ``<Dial>``.
    """

    __slots__ = ("_content_type", "_dialled", "_stream_attributes")

    def __init__(
        self,
        *,
        content_type: str = "audio/x-mulaw;rate=8000",
        stream_attributes: Mapping[str, str] | None = None,
        dialled: Callable[[str], str] = str,
    ) -> None:
        self._content_type = content_type
        self._stream_attributes = dict(stream_attributes or {})
        self._dialled = dialled

    def fits(self, name: str, value: str) -> bool:
        """Whether ``connect`` may be given this parameter: not too long, and text."""
        try:
            return len(urlencode({name: value})) <= _PARAMETER_CHARS
        except UnicodeEncodeError:
            return False

    def connect(self, stream: StreamConnect) -> Document:
        """``<Stream>``; the elements after it run when the stream has ended.

        Parameters travel in the URL's query, which arrives whole: ``extraHeaders`` bears letters
        and digits only, or does not reach the socket at all. Those that make the URL too long are
        left out, and the bot finds them in the record.
        """
        response = Element("Response")
        element = _add(
            response,
            "Stream",
            text=_with_query(stream.stream_url, stream.parameters),
            # Without it the next element runs at once, and the call ends (4010).
            bidirectional="true",
            keepCallAlive="true",
            audioTrack="inbound",
            # Always stated: the pages differ about what it is otherwise.
            contentType=self._content_type,
            **self._stream_attributes,
        )
        if stream.stream_status_url is not None:
            element.set("statusCallbackUrl", _clean(stream.stream_status_url))
            element.set("statusCallbackMethod", "POST")
        if stream.continue_url is not None:
            _add(response, "Redirect", text=stream.continue_url, method="POST")
        return _document(response)

    def hangup(self) -> Document:
        """``<Hangup>``."""
        response = Element("Response")
        _add(response, "Hangup")
        return _document(response)

    def reject(self) -> Document:
        """``<Hangup reason="busy">`` as the first element: the call is never answered."""
        response = Element("Response")
        _add(response, "Hangup", reason="busy")
        return _document(response)

    def say(self, text: str) -> Document:
        """``<Speak>``, which answers the call, then ``<Hangup>``."""
        response = Element("Response")
        _add(response, "Speak", text=text)
        _add(response, "Hangup")
        return _document(response)

    def forward(self, to_number: str, *, caller_id: str | None = None) -> Document:
        """``<Dial>`` a number or a ``sip:`` address."""
        response = Element("Response")
        dial = _add(response, "Dial", timeout=str(_FORWARD_TIMEOUT_S))
        if caller_id is not None:
            dial.set("callerId", _clean(self._dialled(caller_id)))
        if to_number.startswith(("sip:", "sips:")):
            _add(dial, "User", text=to_number)
        else:
            _add(dial, "Number", text=self._dialled(to_number))
        return _document(response)

    def accept_event(self) -> Document:
        """An empty ``<Response>``, which harms no callback."""
        return _document(Element("Response"))


def _with_query(url: str, parameters: Mapping[str, str]) -> str:
    for name, value in parameters.items():
        longer = f"{url}{'&' if '?' in url else '?'}{urlencode({name: value}, errors='replace')}"
        if len(longer) <= STREAM_URL_CHARS:
            url = longer
    return url


def _add(parent: Element, tag: str, *, text: str | None = None, **attributes: str) -> Element:
    child = SubElement(parent, tag, {name: _clean(value) for name, value in attributes.items()})
    if text is not None:
        child.text = _clean(text)
    return child


def _clean(text: str) -> str:
    return _NOT_XML.sub("", text)


def _document(response: Element) -> Document:
    text = _DECLARATION + ElementTree.tostring(response, encoding="unicode")
    return Document(content_type=_CONTENT_TYPE, body=text.encode())
