"""Stream tokens: the proof in the media URL that we admitted this call.

``call_id.expiry.signature``: the signature is HMAC-SHA256 over carrier, agent, call id and expiry
under a key derived from ``TRUNKLINE_SECRET_KEY``, so any front can check one without the database.
The expiry counts from the call's creation: the same webhook twice gets the same
token. Whether a token is used up is the call record's matter.
"""

from __future__ import annotations

import base64
import hmac
from datetime import datetime, timedelta
from hashlib import sha256

from trunkline.errors import TokenError

__all__ = ["INBOUND_TTL_S", "OUTBOUND_TTL_S", "StreamTokens"]

INBOUND_TTL_S = 60  # seconds from the webhook to the socket; carriers connect within one
OUTBOUND_TTL_S = 900  # a dial may ring for 600 s before the socket comes


class StreamTokens:
    """Makes and checks tokens.

    Args:
        key: Secret bytes; anything derived from ``TRUNKLINE_SECRET_KEY`` for this purpose only.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mint(
        self, *, carrier: str, agent_name: str, call_id: str, created_at: datetime, ttl_s: int
    ) -> str:
        """The token of a call, always the same for the same arguments."""
        expiry = int((created_at + timedelta(seconds=ttl_s)).timestamp())
        return f"{call_id}.{expiry}.{self._sign(carrier, agent_name, call_id, expiry)}"

    def check(self, token: str, *, carrier: str, agent_name: str, now: datetime) -> str:
        """Return the call id that ``token`` stands for.

        Raises:
            TokenError: malformed, forged, for another carrier or agent, or expired.
        """
        parts = token.split(".") if token.isascii() else []
        if len(parts) != 3 or not (
            parts[1].isascii() and parts[1].isdigit() and len(parts[1]) <= 12
        ):
            raise TokenError("malformed")
        call_id, expiry = parts[0], int(parts[1])
        expected = self._sign(carrier, agent_name, call_id, expiry)
        if not hmac.compare_digest(expected.encode(), parts[2].encode()):
            raise TokenError("forged")
        if now.timestamp() > expiry:
            raise TokenError("expired")
        return call_id

    def _sign(self, carrier: str, agent_name: str, call_id: str, expiry: int) -> str:
        text = "\n".join((carrier, agent_name, call_id, str(expiry)))
        digest = hmac.new(self._key, text.encode(), sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
