"""How Genesys proves a socket: API key and HTTP message signature, an early form of RFC 9421.

Written after Genesys' reference client, apart from the server's own check.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Session", "sign_upgrade"]

_LIFETIME_S = 10
_DEFAULT_PORTS = {"wss": ":443", "ws": ":80"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who opens a socket, for what."""

    api_key: str
    client_secret: str | None
    """Base64; None: sockets are not signed."""
    organization_id: str
    session_id: str
    correlation_id: str


def sign_upgrade(url: str, session: Session, *, nonce: str, now_s: int) -> Mapping[str, str]:
    """Return the headers of an upgrade."""
    headers = {
        "Audiohook-Organization-Id": session.organization_id,
        "Audiohook-Session-Id": session.session_id,
        "Audiohook-Correlation-Id": session.correlation_id,
        "X-API-KEY": session.api_key,
    }
    if session.client_secret is None:
        return headers
    parts = urlsplit(url)
    covered = {
        "@request-target": parts._replace(scheme="", netloc="", fragment="").geturl(),
        "@authority": parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ":")),
        **{name.lower(): value for name, value in headers.items()},
    }
    names = " ".join(f'"{name}"' for name in covered)
    parameters = (
        f'({names});keyid="{session.api_key}";nonce="{nonce}";alg="hmac-sha256"'
        f";created={now_s};expires={now_s + _LIFETIME_S}"
    )
    lines = [f'"{name}": {value}' for name, value in covered.items()]
    lines.append(f'"@signature-params": {parameters}')
    key = base64.b64decode(session.client_secret)
    mac = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
    return {
        **headers,
        "Signature-Input": f"sig1={parameters}",
        "Signature": f"sig1=:{base64.b64encode(mac).decode()}:",
    }
