"""XML of ``<Connect><Stream>``, ``<Say>``, ``<Dial>`` and ``<Hangup>``, as two carriers read it.

One calls it TwiML (https://www.twilio.com/docs/voice/twiml), the other TeXML
(https://developers.telnyx.com/docs/voice/programmable-voice/texml-fundamentals).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

__all__ = ["PARAMETER_CHARS", "TwimlMarkup"]

PARAMETER_CHARS = 500
"""Name and value of one ``<Parameter>`` together must be shorter
(https://www.twilio.com/docs/voice/twiml/stream#custom-parameters)."""

_CONTENT_TYPE = "application/xml"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'

# What XML 1.0 §2.2 cannot carry, not even escaped. One such character in a caller's name would void
# the document (error 12100) and end the call.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Seconds of ringing until a forwarded call counts as not answered: the carriers' own default,
# stated to keep it.
_FORWARD_TIMEOUT_S = 30


class TwimlMarkup:
    """The ``Markup`` of both. Text is escaped, and freed of characters that XML does not have.

    Args:
        stream_attributes: More attributes of ``<Stream>``.
        stream_parameters: More ``<Parameter>`` elements, after the call's own.
        dial_attributes: More attributes of ``<Dial>``.
    """

    __slots__ = ("_dial_attributes", "_stream_attributes", "_stream_parameters")

    def __init__(
        self,
        *,
        stream_attributes: Mapping[str, str] | None = None,
        stream_parameters: Mapping[str, str] | None = None,
        dial_attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._stream_attributes = dict(stream_attributes or {})
        self._stream_parameters = dict(stream_parameters or {})
        self._dial_attributes = dict(dial_attributes or {})

    def fits(self, name: str, value: str) -> bool:
        """Whether ``connect`` may be given this parameter.

        Longer ones are the caller's to leave out: the carriers do not take them.
        """
        return len(name) + len(value) < PARAMETER_CHARS

    def connect(self, stream: StreamConnect) -> Document:
        """``<Connect><Stream>``; the verbs after it run when the stream has ended."""
        response = Element("Response")
        element = _add(
            _add(response, "Connect"), "Stream", url=stream.stream_url, **self._stream_attributes
        )
        if stream.stream_status_url is not None:
            element.set("statusCallback", _clean(stream.stream_status_url))
            element.set("statusCallbackMethod", "POST")
        for name, value in (dict(stream.parameters) | self._stream_parameters).items():
            _add(element, "Parameter", name=name, value=value)
        if stream.continue_url is not None:
            _add(response, "Redirect", text=stream.continue_url, method="POST")
        return _document(response)

    def hangup(self) -> Document:
        """``<Hangup>``."""
        response = Element("Response")
        _add(response, "Hangup")
        return _document(response)

    def reject(self) -> Document:
        """``<Reject>`` must be the first verb; the call is never answered and costs nothing."""
        response = Element("Response")
        _add(response, "Reject", reason="busy")
        return _document(response)

    def say(self, text: str) -> Document:
        """``<Say>``, which answers the call, then ``<Hangup>``."""
        response = Element("Response")
        _add(response, "Say", text=text)
        _add(response, "Hangup")
        return _document(response)

    def forward(self, to_number: str, *, caller_id: str | None = None) -> Document:
        """``<Dial>`` a number or a ``sip:`` address."""
        response = Element("Response")
        dial = _add(response, "Dial", timeout=str(_FORWARD_TIMEOUT_S), **self._dial_attributes)
        if caller_id is not None:
            dial.set("callerId", _clean(caller_id))
        _add(dial, "Sip" if to_number.startswith(("sip:", "sips:")) else "Number", text=to_number)
        return _document(response)

    def accept_event(self) -> Document:
        """An empty ``<Response>``: anything else is warned of (Twilio: 12300)."""
        return _document(Element("Response"))


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
