"""HMAC-SHA256 in base64 over a URL and a nonce, as two carriers sign their webhooks.

What else is signed is the carriers' own (docs/carriers/plivo.md, docs/carriers/vobiz.md).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from trunkline.errors import SignatureError

__all__ = ["base_url", "fits_any", "split_url", "token_bytes"]


def split_url(url: str) -> SplitResult:
    """Take a URL apart.

    Raises:
        SignatureError: It is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SignatureError("the URL cannot be read", signed_url=url) from None
    if not parts.scheme or not parts.netloc:
        raise SignatureError("the URL cannot be read", signed_url=url)
    return parts


def base_url(parts: SplitResult, *, scheme: str | None = None) -> str:
    """Return ``scheme://host[:port]/path``: a port stays, query and fragment are cut."""
    return f"{scheme or parts.scheme}://{parts.netloc}{parts.path}"


def token_bytes(*tokens: SecretStr | None) -> Sequence[bytes]:
    """Return the tokens that are set, as keys."""
    return [_utf8(token.get_secret_value()) for token in tokens if token is not None]


def fits_any(keys: Sequence[bytes], texts: Sequence[str], signatures: str) -> bool:
    """Say whether one of the signatures is that of one of the texts under one of the keys.

    Args:
        keys: Auth tokens.
        texts: What may have been signed, nonce included.
        signatures: The header: one signature, or several with commas between, one for each token
            that is in use.
    """
    given = [_utf8(signature.strip()) for signature in signatures.split(",")]
    # Every pair is compared, whichever fits, so that time tells nothing.
    fits = [
        hmac.compare_digest(b64encode(hmac.new(key, _utf8(text), hashlib.sha256).digest()), one)
        for key in keys
        for text in texts
        for one in given
    ]
    return any(fits)


def _utf8(text: str) -> bytes:
    """Header and URL bytes may have been decoded with surrogates; they must not raise here."""
    return text.encode("utf-8", "surrogatepass")
