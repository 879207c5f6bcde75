"""How Twilio signs what it sends (https://www.twilio.com/docs/usage/security#validating-requests).

Written apart from the server's check on purpose: a mistake that both share would not show.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

__all__ = ["sign_upgrade", "sign_webhook", "signed_url"]


def signed_url(url: str) -> str:
    """Return what Twilio signs of a URL: no fragment, no user name, and over TLS no port."""
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("https", "wss") and parts.port is not None:
        authority = authority[: authority.rindex(":")]
    rest = url.split("#", 1)[0].split("://", 1)[1]
    path_at = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    return f"{parts.scheme}://{authority}{rest[path_at:]}"


def sign_webhook(auth_token: str, url: str, fields: Iterable[tuple[str, str]] = ()) -> str:
    """Return ``X-Twilio-Signature`` of a webhook: the URL, then each distinct field, sorted."""
    text = signed_url(url) + "".join(name + value for name, value in sorted(set(fields)))
    return _sign(auth_token, text)


def sign_upgrade(auth_token: str, url: str) -> str:
    """Return ``x-twilio-signature`` of a media socket's upgrade: the URL as the markup has it."""
    return _sign(auth_token, signed_url(url))


def _sign(auth_token: str, text: str) -> str:
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()
