"""How Plivo signs what it sends, and checks what it gets.

https://www.plivo.com/docs/voice/concepts/signature-validation. Written apart from the server's
check on purpose: a mistake that both share would not show.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from trunkline.simulator.play_audio.peculiarities import Fields

__all__ = ["is_authentic", "sign", "sign_upgrade"]


def sign(auth_token: str, method: str, url: str, fields: Fields) -> Mapping[str, str]:
    """Return the V3 headers of a webhook; a main account signs under both names."""
    text = _signed_url(url)
    if method == "POST" and fields:
        text += "." if "?" in text else "?"
        for name in sorted({name for name, _ in fields}):
            for value in sorted(value for key, value in fields if key == name):
                text += name + value
    return _headers(auth_token, text)


def sign_upgrade(auth_token: str, url: str) -> Mapping[str, str]:
    """Return the V3 headers of a media socket's upgrade: the URL as the markup has it."""
    return _headers(auth_token, _signed_url(url))


def is_authentic(request: Request, credentials: Mapping[str, str]) -> bool:
    """Say whether a REST request has HTTP Basic of one of the credentials."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return False
    wanted = credentials.get(user)
    return wanted is not None and hmac.compare_digest(wanted.encode(), password.encode())


def _signed_url(url: str) -> str:
    parts = urlsplit(url)
    text = f"{parts.scheme}://{parts.netloc}{parts.path}"
    query = parse_qs(parts.query, keep_blank_values=True)
    pairs = [f"{name}={value}" for name in sorted(query) for value in sorted(query[name])]
    return text + ("?" + "&".join(pairs) if pairs else "")


def _headers(auth_token: str, text: str) -> Mapping[str, str]:
    nonce = "".join(secrets.choice("0123456789") for _ in range(20))
    digest = hmac.new(auth_token.encode(), f"{text}.{nonce}".encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    return {
        "X-Plivo-Signature-V3": signature,
        "X-Plivo-Signature-Ma-V3": signature,
        "X-Plivo-Signature-V3-Nonce": nonce,
    }
