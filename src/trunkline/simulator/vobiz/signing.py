"""How Vobiz signs what it sends, and checks what it gets.

https://www.vobiz.ai/docs/concepts/validating-callbacks. Written apart from the server's
check on purpose: a mistake that both share would not show.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from starlette.requests import Request

from trunkline.simulator.play_audio.peculiarities import Fields

__all__ = ["is_authentic", "sign", "sign_upgrade"]


def sign(auth_token: str, method: str, url: str, fields: Fields) -> Mapping[str, str]:
    """Return the V2 and V3 headers of a webhook: neither covers query, method or body."""
    base = url.partition("#")[0].partition("?")[0]
    v2_nonce, v3_nonce = (
        "".join(secrets.choice("0123456789") for _ in range(20)) for _ in range(2)
    )
    v2, v3 = _hmac(auth_token, base + v2_nonce), _hmac(auth_token, f"{base}.{v3_nonce}")
    return {
        "X-Vobiz-Signature-V2": v2,
        "X-Vobiz-Signature-MA-V2": v2,
        "X-Vobiz-Signature-V2-Nonce": v2_nonce,
        "X-Vobiz-Signature-V3": v3,
        "X-Vobiz-Signature-MA-V3": v3,
        "X-Vobiz-Signature-V3-Nonce": v3_nonce,
    }


def sign_upgrade(auth_token: str, url: str) -> Mapping[str, str]:
    """Return nothing: Vobiz does not sign upgrades."""
    return {}


def is_authentic(request: Request, credentials: Mapping[str, str]) -> bool:
    """Say whether a REST request has one of the credentials in its headers."""
    wanted = credentials.get(request.headers.get("x-auth-id", ""))
    shown = request.headers.get("x-auth-token", "")
    return wanted is not None and hmac.compare_digest(wanted.encode(), shown.encode())


def _hmac(auth_token: str, text: str) -> str:
    digest = hmac.new(auth_token.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
