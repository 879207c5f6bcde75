"""The one secret of an installation and the keys derived from it.

``TRUNKLINE_SECRET_KEY`` is any text of at least 32 characters. Unset, one is made at the first
start and kept in ``TRUNKLINE_HOME/secret.key`` (mode 0600). Losing it loses stored credentials, and
nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trunkline.errors import ConfigError

__all__ = ["MIN_SECRET_CHARS", "CredentialCipher", "derive_key", "load_secret"]

MIN_SECRET_CHARS = 32


def load_secret(configured: str | None, home: Path) -> bytes:
    """The installation's secret: as configured, else kept in a file under ``home``.

    The file is made at first use.

    Raises:
        ConfigError: the configured secret is too short, or the file is empty.
    """
    if configured is not None:
        if len(configured) < MIN_SECRET_CHARS:
            raise ConfigError(
                f"TRUNKLINE_SECRET_KEY must have at least {MIN_SECRET_CHARS} characters",
                field="TRUNKLINE_SECRET_KEY",
            )
        return configured.encode()
    path = home / "secret.key"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        # Written aside and linked: two processes that start at once must agree on one secret, and
        # never read half of it.
        descriptor, fresh = tempfile.mkstemp(prefix=".secret.", dir=home)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another process was first: its secret counts
        finally:
            Path(fresh).unlink()
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"{path} does not hold a secret of at least {MIN_SECRET_CHARS} characters"
        )
    return secret.encode()


def derive_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose (HKDF, RFC 5869)."""
    return HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"trunkline {purpose}".encode()
    ).derive(secret)


class CredentialCipher:
    """Encrypts carriers' credentials at rest."""

    def __init__(self, secret: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(derive_key(secret, "credentials")))

    def encrypt(self, fields: Mapping[str, str]) -> bytes:
        """The fields, sealed."""
        return self._fernet.encrypt(json.dumps(dict(fields), sort_keys=True).encode())

    def decrypt(self, sealed: bytes) -> dict[str, str]:
        """The fields again; raises ``ConfigError`` when they were sealed under another secret."""
        try:
            opened: dict[str, str] = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise ConfigError(
                "stored credentials cannot be read with this TRUNKLINE_SECRET_KEY:"
                " store them again",
                field="TRUNKLINE_SECRET_KEY",
            ) from None
        return opened
