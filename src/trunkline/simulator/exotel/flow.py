"""What Exotel makes of an answer: the media URL in it, or why its applet fails."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias
from urllib.parse import urlsplit
from xml.etree import ElementTree

import orjson

from trunkline.simulator.contract import Violation
from trunkline.simulator.requester import Reply

__all__ = ["MOST_URL_CHARS", "AppletError", "check_media_url", "read_json_answer", "read_markup"]

MOST_URL_CHARS = 600
"""Of a ``StreamUrl``, all in all."""

_OK = 200

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


class AppletError(Exception):
    """The applet fails, and the flow takes the next one."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.violation = Violation(code=code, detail=detail)


def read_json_answer(reply: Reply) -> str:
    """Return the media URL of a dynamic URL's answer.

    Raises:
        AppletError: There is none.
    """
    if reply.status != _OK:
        raise AppletError("dynamic_url", f"answered with HTTP {reply.status or reply.error}")
    try:
        answer: _Json = orjson.loads(reply.text)
    except orjson.JSONDecodeError:
        raise AppletError("dynamic_url", "the answer is not JSON") from None
    url = answer.get("url") if isinstance(answer, dict) else None
    if not isinstance(url, str):
        raise AppletError("dynamic_url", "the answer has no url")
    return check_media_url(url)


def read_markup(reply: Reply) -> str | None:
    """Return the media URL of a callback's answer; None where it asks for nothing."""
    if reply.status != _OK or not reply.text.strip():
        return None
    try:
        # Our own server's answer, and expat of every supported Python stops entity bombs by itself.
        root = ElementTree.fromstring(reply.text)  # noqa: S314
    except ElementTree.ParseError as error:
        raise AppletError("callback", f"the answer is not XML: {error}") from error
    stream = root.find("Connect/Stream")
    return None if stream is None else check_media_url(stream.get("url", ""))


def check_media_url(url: str) -> str:
    """Return ``url`` if Exotel would open it.

    Raises:
        AppletError: It would not.
    """
    parts = urlsplit(url)
    if parts.scheme != "wss" and not (parts.scheme == "ws" and _is_loopback(parts.hostname or "")):
        raise AppletError("stream_url", "the media URL is not wss")
    if len(url) > MOST_URL_CHARS:
        raise AppletError("stream_url", f"a media URL of {len(url)} characters")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
