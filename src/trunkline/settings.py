"""Every setting that comes from the environment or ``.env``, in one object.

Carriers' own variables are read by name.

Read once in ``app.py`` and each process's ``main``, then passed down: nothing else reads the
environment. Stored settings (``PUT /api/settings/telephony``) win over these from the next call on.
``.env.example`` lists all, which a test compares with this file and with the carriers' accounts.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Settings", "carrier_environment"]

LONGEST_SOCKET_PATH = 80  # bytes; AF_UNIX allows 107, and file names are appended to the folder


class Settings(BaseSettings):
    """Trunkline's settings.

    Field ``public_base_url`` is variable ``PUBLIC_BASE_URL``, and so on.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # a line that was left blank in .env sets nothing
        extra="ignore",
        frozen=True,
    )

    telephony_provider: str | None = None
    """Default carrier for outbound calls; None: the only one with credentials."""

    public_base_url: str | None = None
    """``https://voice.example.com``: what carriers reach, what they sign, what markup names."""

    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Comma-separated addresses or networks whose ``X-Forwarded-For`` counts."""

    trunkline_home: Path = Path("~/.trunkline")
    """Database, recordings, journal and sockets live here."""

    database_url: str | None = None
    """``postgresql+asyncpg://…`` or ``sqlite+aiosqlite:///…``; None: SQLite under the home."""

    trunkline_secret_key: SecretStr | None = None
    """Encrypts stored credentials and signs stream tokens; None: made at first start and kept under
    the home, mode 0600."""

    host: str = Field(default="127.0.0.1", validation_alias="TRUNKLINE_HOST")
    port: int = Field(default=8000, ge=0, le=65535, validation_alias="TRUNKLINE_PORT")
    gateways: int = Field(default=1, ge=1, le=64, validation_alias="TRUNKLINE_GATEWAYS")
    """Gateway processes."""

    max_calls: int = Field(default=200, ge=1, validation_alias="TRUNKLINE_MAX_CALLS")
    """Calls at once on this machine."""

    warm_workers: int = Field(default=2, ge=0, validation_alias="TRUNKLINE_WARM_WORKERS")
    """Warm workers kept for each agent unless its row says otherwise."""

    drain_timeout_s: float | None = Field(default=None, ge=0)
    """How long a drain waits for live calls; None: until the last one has ended."""

    log_level: str = Field(
        default="INFO",
        pattern="(?i)^(debug|info|warning|error)$",
        validation_alias="TRUNKLINE_LOG_LEVEL",
    )
    log_format: str = Field(
        default="auto", pattern="^(auto|json|text)$", validation_alias="TRUNKLINE_LOG_FORMAT"
    )
    """``auto``: text on a terminal, else JSON lines."""

    trunkline_url: str = "http://127.0.0.1:8000"
    """Where the command line finds the server."""

    trunkline_api_key: SecretStr | None = None
    """The key that the command line presents."""

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()
            )
        return value

    @field_validator("trunkline_home", mode="after")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("public_base_url", mode="after")
    @classmethod
    def _check_public_base_url(cls, value: str | None) -> str | None:
        """``https`` with a host and nothing but a path; plain ``http`` only for a loopback host."""
        if value is None or not value.strip():
            return None
        parts = urlsplit(value.strip())
        _ = parts.port  # raises ValueError for one that is none
        if (
            parts.scheme not in ("https", "http")
            or not parts.hostname
            or re.search(r"[\s\"<>]", value.strip())
            or parts.query
            or parts.fragment
        ):
            raise ValueError("PUBLIC_BASE_URL must look like https://voice.example.com")
        if parts.username or parts.password:
            raise ValueError("PUBLIC_BASE_URL must not carry a user name or password")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(
                "PUBLIC_BASE_URL must be https (plain http is for a loopback host only)"
            )
        return value.strip().rstrip("/")

    @property
    def effective_database_url(self) -> str:
        """The database to use."""
        return self.database_url or f"sqlite+aiosqlite:///{self.trunkline_home / 'trunkline.db'}"

    @property
    def recordings_dir(self) -> Path:
        """Folder of the recordings."""
        return self.trunkline_home / "recordings"

    @property
    def journal_dir(self) -> Path:
        """Folder of the gateways' journals."""
        return self.trunkline_home / "journal"

    @property
    def run_dir(self) -> Path:
        """Folder (mode 0700) of the Unix sockets.

        Under the home unless that path is too long for AF_UNIX.
        """
        wanted = self.trunkline_home / "run"
        if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH:
            return wanted
        digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"trunkline-{os.getuid()}-{digest}"

    @property
    def pool_socket(self) -> Path:
        """Unix socket where the supervisor's pool of workers listens."""
        return self.run_dir / "pool.sock"

    def handover_socket(self, gateway: int) -> Path:
        """SEQPACKET socket where gateway number ``gateway`` takes over carriers' sockets."""
        return self.run_dir / f"gateway-{gateway}.handover"

    def control_socket(self, gateway: int) -> Path:
        """Stream socket where gateway number ``gateway`` takes commands and tells its journal."""
        return self.run_dir / f"gateway-{gateway}.control"


def carrier_environment(prefix: str, env_file: Path | None = Path(".env")) -> Mapping[str, str]:
    """Variables that start with ``prefix``: the process environment over ``.env``."""
    from dotenv import dotenv_values

    found: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        found.update(
            {key: value for key, value in dotenv_values(env_file).items() if value is not None}
        )
    found.update(os.environ)
    return {key: value for key, value in found.items() if key.startswith(prefix)}
