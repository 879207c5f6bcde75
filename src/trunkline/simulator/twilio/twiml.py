"""TwiML as Twilio reads it: the verbs that concern us, and the errors that Twilio would report.

https://www.twilio.com/docs/voice/twiml; error numbers: https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from trunkline.simulator.contract import Violation

__all__ = [
    "Connect",
    "Dial",
    "Hangup",
    "PauseVerb",
    "Redirect",
    "Reject",
    "SayVerb",
    "TwimlError",
    "Verb",
    "check_content_type",
    "parse_twiml",
]

_PARAMETER_CHARS = 500
_CONTENT_TYPES = frozenset({"application/xml", "text/xml", "text/html"})


class TwimlError(Exception):
    """The document cannot be carried out: Twilio says "application error" and ends the call."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation)
        self.violation = violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """``<Connect><Stream>``: the call talks to a media socket until that ends."""

    url: str
    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    status_url: str | None = None
    action_url: str | None = None
    """Where the call goes afterwards, in place of the next verb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """``<Redirect>``: go on with the document at ``url``."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup:
    """``<Hangup>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """``<Reject>``: as the first verb it refuses the call before it is answered."""

    reason: str = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class SayVerb:
    """``<Say>``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseVerb:
    """``<Pause>``."""

    length_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """``<Dial>`` of one number or address."""

    target: str
    timeout_s: float = 30.0
    action_url: str | None = None


Verb = Connect | Redirect | Hangup | Reject | SayVerb | PauseVerb | Dial


def check_content_type(content_type: str) -> None:
    """Refuse what Twilio does not read as TwiML.

    Raises:
        TwimlError: 12300.
    """
    if content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise TwimlError(Violation(code="12300", detail=f"content type {content_type!r}"))


def parse_twiml(document: str, *, base_url: str) -> tuple[Sequence[Verb], Sequence[Violation]]:
    """Return the verbs of a document, and what Twilio would warn of.

    Args:
        document: XML text.
        base_url: Where it came from; relative URLs are resolved against it.

    Raises:
        TwimlError: the document is of no use (12100), or its stream (31920, 31941).
    """
    try:
        # Our own server's answer, and expat of every supported Python stops entity bombs by itself.
        root = ElementTree.fromstring(document)  # noqa: S314
    except ElementTree.ParseError as error:
        raise TwimlError(Violation(code="12100", detail=f"not XML: {error}")) from error
    if root.tag != "Response":
        raise TwimlError(Violation(code="12100", detail=f"the document is <{root.tag}>"))
    verbs: list[Verb] = []
    warnings: list[Violation] = []
    for element in root:
        verb = _verb(element, base_url)
        if verb is None:
            warnings.append(Violation(code="12200", detail=f"<{element.tag}> is not simulated"))
        else:
            verbs.append(verb)
    return verbs, warnings


def _verb(element: Element, base_url: str) -> Verb | None:
    text = (element.text or "").strip()
    match element.tag:
        case "Connect":
            return _connect(element, base_url)
        case "Redirect":
            method = element.get("method", "POST")
            return Redirect(url=urljoin(base_url, text), method=method)
        case "Hangup":
            return Hangup()
        case "Reject":
            return Reject(reason=element.get("reason", "rejected"))
        case "Say":
            return SayVerb(text=text)
        case "Pause":
            return PauseVerb(length_s=float(element.get("length", "1")))
        case "Dial":
            return _dial(element, text, base_url)
        case _:
            return None


def _dial(element: Element, text: str, base_url: str) -> Dial:
    target = next((child.text or "" for child in element), text).strip()
    action = element.get("action")
    return Dial(
        target=target,
        timeout_s=float(element.get("timeout", "30")),
        action_url=None if action is None else urljoin(base_url, action),
    )


def _connect(element: Element, base_url: str) -> Connect:
    stream = element.find("Stream")
    if stream is None:
        raise TwimlError(Violation(code="12200", detail="<Connect> without <Stream>"))
    url = stream.get("url", "")
    if not url.startswith(("wss://", "ws://")):
        url = urljoin(base_url.replace("http", "ws", 1), url)
    _check_stream(url, stream.get("track", "inbound_track"))
    action = element.get("action")
    status = stream.get("statusCallback")
    return Connect(
        url=url,
        name=stream.get("name", ""),
        parameters=dict(_parameter(child) for child in stream.findall("Parameter")),
        status_url=status,
        action_url=None if action is None else urljoin(base_url, action),
    )


def _check_stream(url: str, track: str) -> None:
    if track != "inbound_track":
        raise TwimlError(Violation(code="31941", detail=f"track {track!r} of a <Connect> stream"))
    parts = urlsplit(url)
    if "?" in url:
        raise TwimlError(Violation(code="31920", detail="the stream's URL has a query"))
    if parts.scheme != "wss" and not _is_loopback(parts.hostname or ""):
        raise TwimlError(Violation(code="31920", detail="the stream's URL is not wss"))


def _parameter(element: Element) -> tuple[str, str]:
    name, value = element.get("name", ""), element.get("value", "")
    if not name or len(name) + len(value) >= _PARAMETER_CHARS:
        raise TwimlError(
            Violation(code="12200", detail=f"<Parameter> {name[:40]!r} has no name, or is too long")
        )
    return name, value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
