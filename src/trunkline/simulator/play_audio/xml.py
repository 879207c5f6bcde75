"""The carrier's XML as it reads it: the elements that concern us, and what it hangs up for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from trunkline.simulator.contract import Violation
from trunkline.simulator.play_audio.peculiarities import Peculiarities

__all__ = [
    "Dial",
    "Hangup",
    "Redirect",
    "Speak",
    "StreamElement",
    "Verb",
    "XmlError",
    "check_content_type",
    "parse_xml",
]

_STREAM_URL_CHARS = 2048
_CONTENT_TYPES = frozenset({"application/xml", "text/xml"})
_INVALID_XML = "8011"


class XmlError(Exception):
    """The document cannot be carried out: the call is hung up."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.violation = Violation(code=code, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamElement:
    """``<Stream>``: the call talks to a media socket until that ends."""

    url: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """The query of its URL, for the report."""
    keeps_call_alive: bool
    status_url: str | None = None
    content_type: str = "audio/x-mulaw;rate=8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """``<Redirect>``: go on with the document at ``url``."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """``<Hangup>``; as the first element, with a reason, it refuses the call."""

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speak:
    """``<Speak>``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """``<Dial>`` of one number or address."""

    target: str
    timeout_s: float = 30.0
    action_url: str | None = None


Verb = StreamElement | Redirect | Hangup | Speak | Dial


def check_content_type(content_type: str) -> None:
    """Refuse what is not taken for XML.

    Raises:
        XmlError: 8011.
    """
    if content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise XmlError(_INVALID_XML, f"content type {content_type!r}")


def parse_xml(document: str, rules: Peculiarities) -> tuple[Sequence[Verb], Sequence[Violation]]:
    """Return the elements of a document, and what the carrier ignores in it.

    Raises:
        XmlError: The document is of no use.
    """
    try:
        # Our own server's answer, and expat of every supported Python stops entity bombs by itself.
        root = ElementTree.fromstring(document)  # noqa: S314
    except ElementTree.ParseError as error:
        raise XmlError(_INVALID_XML, f"not XML: {error}") from error
    if root.tag != "Response":
        raise XmlError(_INVALID_XML, f"the document is <{root.tag}>")
    verbs: list[Verb] = []
    warnings: list[Violation] = []
    for element in root:
        verb = _verb(element, rules)
        if verb is None:
            warnings.append(Violation(code=_INVALID_XML, detail=f"<{element.tag}> is not known"))
        else:
            verbs.append(verb)
    return verbs, warnings


def _verb(element: Element, rules: Peculiarities) -> Verb | None:
    text = (element.text or "").strip()
    match element.tag:
        case "Stream":
            return _stream(element, text, rules)
        case "Redirect":
            return Redirect(url=text, method=element.get("method", "POST"))
        case "Hangup":
            return Hangup(reason=element.get("reason"))
        case "Speak":
            return Speak(text=text)
        case "Dial":
            target = next((child.text or "" for child in element), "").strip()
            timeout_s = float(element.get("timeout", "30"))
            return Dial(target=target, timeout_s=timeout_s, action_url=element.get("action"))
        case _:
            return None


def _stream(element: Element, url: str, rules: Peculiarities) -> StreamElement:
    if element.get("bidirectional") != "true":
        raise XmlError("bidirectional", "the server could not send anything on this stream")
    if element.get("audioTrack", "inbound") != "inbound":
        raise XmlError("audioTrack", "a bidirectional stream has the inbound track only")
    content_type = element.get("contentType", "")
    if content_type not in rules.content_types:
        raise XmlError("contentType", f"{content_type!r} is never connected")
    parts = urlsplit(url)
    if len(url) > _STREAM_URL_CHARS:
        raise XmlError("stream_url", f"a URL of {len(url)} characters")
    if parts.scheme != "wss" and not (parts.scheme == "ws" and _is_loopback(parts.hostname or "")):
        raise XmlError("stream_url", "the stream's URL is not wss")
    return StreamElement(
        url=url,
        parameters=dict(parse_qsl(parts.query, keep_blank_values=True)),
        keeps_call_alive=element.get("keepCallAlive") == "true",
        status_url=element.get("statusCallbackUrl"),
        content_type=content_type,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
