"""Credentials at Vonage: three secrets, each for one purpose.

The signature secret checks webhooks and socket upgrades, the application's private key signs calls
to the Voice API, and the API secret opens numbers and applications
(https://developer.vonage.com/en/getting-started/concepts/authentication).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr, ValidationInfo, field_validator

from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import parse_e164

__all__ = ["SAMPLE_RATES_HZ", "VonageAccount"]

SAMPLE_RATES_HZ = (8000, 16000, 24000)
"""Of the media socket (https://developer.vonage.com/en/voice/voice-api/concepts/websockets)."""

_API_BASE = "https://api.nexmo.com"
_NUMBERS_BASE = "https://rest.nexmo.com"

_API_KEY = re.compile(r"[0-9A-Za-z]{6,16}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REGION = re.compile(r"[a-z]{2}-[0-9]{1,2}")


class VonageAccount(CarrierAccount):
    """One application of one account."""

    ENV_PREFIX: ClassVar[str] = "VONAGE_"

    api_key: str | None = None
    """Of the account; every signed webhook names it."""
    signature_secret: SecretStr | None = None
    """Signs webhooks and socket upgrades. Not the API secret."""
    application_id: str | None = None
    """A UUID."""
    private_key: SecretStr | None = None
    """The application's private key: PEM, with real line breaks or ``\\n`` for each."""
    api_secret: SecretStr | None = None
    """Only to read how numbers are set up; calls do not need it."""
    sample_rate_hz: int = 16000
    """Of the media socket, 8000, 16000 or 24000."""
    signed_upgrades: bool = True
    """Ask for signed socket upgrades and require them. Without, the token in the path is the only
    proof; static media URLs need the signature anyway."""
    signed_queries: bool = False
    """Accept webhooks by GET, whose hash is not documented: over the query's parameters, as compact
    JSON in the order received."""
    region: str | None = None
    """Such as ``eu-1``: where the application's calls live. Elsewhere they are unknown."""
    api_base: str | None = None
    """Base URL of all REST APIs in place of Vonage's own, for a stand-in or a proxy."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """``VONAGE_REGION=`` in an environment file means that nothing was set."""
        if isinstance(value, str):
            return value.strip() or cls.model_fields[info.field_name or ""].default
        return value

    @field_validator("phone_number")
    @classmethod
    def _check_phone_number(cls, value: str | None) -> str | None:
        return None if value is None else parse_e164(value, field="phone_number")

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: str | None) -> str | None:
        if value is not None and not _API_KEY.fullmatch(value):
            raise ConfigError("must be an API key such as a1b2c3d4", field="api_key")
        return value

    @field_validator("application_id")
    @classmethod
    def _check_application_id(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _UUID.fullmatch(value.lower()):
            raise ConfigError("must be an application's UUID", field="application_id")
        return value.lower()

    @field_validator("private_key")
    @classmethod
    def _check_private_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        pem = value.get_secret_value().replace("\\n", "\n")
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (TypeError, ValueError):
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise ConfigError(
                "must be the application's RSA private key in PEM, not its path",
                field="private_key",
            )
        return SecretStr(pem)

    @field_validator("sample_rate_hz")
    @classmethod
    def _check_sample_rate(cls, value: int) -> int:
        if value not in SAMPLE_RATES_HZ:
            raise ConfigError("must be 8000, 16000 or 24000", field="sample_rate_hz")
        return value

    @field_validator("region")
    @classmethod
    def _check_region(cls, value: str | None) -> str | None:
        # It becomes a part of the host that tokens are sent to.
        if value is not None and not _REGION.fullmatch(value):
            raise ConfigError("must be a region such as eu-1", field="region")
        return value

    @field_validator("api_base")
    @classmethod
    def _check_api_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ConfigError(f"must be a URL such as {_API_BASE}", field="api_base")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError("must be https: credentials are sent to it", field="api_base")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError("must not have a query, a fragment or a user name", field="api_base")
        return value.rstrip("/")

    @property
    def account_id(self) -> str:
        """The API key, as webhooks name it in their token; empty when unset."""
        return self.api_key or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what must be set: all that webhooks and calls need."""
        names = self.environment()
        needed = ("api_key", "signature_secret", "application_id", "private_key")
        return [names[field] for field in needed if getattr(self, field) is None]

    @property
    def voice_base_url(self) -> str:
        """Scheme and host of the Voice API, without a slash at the end."""
        if self.api_base is not None:
            return self.api_base
        return _API_BASE if self.region is None else f"https://api-{self.region}.nexmo.com"

    @property
    def applications_base_url(self) -> str:
        """The same of the Application API, which has no regions."""
        return self.api_base or _API_BASE

    @property
    def numbers_base_url(self) -> str:
        """The same of the Numbers API."""
        return self.api_base or _NUMBERS_BASE

    @property
    def rest_credentials(self) -> tuple[str, str]:
        """Application id and private key, which Voice API tokens are made of.

        Raises:
            ConfigError: One of them is missing; names what to set.
        """
        if self.application_id is not None and self.private_key is not None:
            return self.application_id, self.private_key.get_secret_value()
        raise ConfigError(f"set {' and '.join(self.missing())}", field="application_id")

    @classmethod
    def require(cls, account: CarrierAccount) -> VonageAccount:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"a Vonage account is needed, not {type(account).__name__}")
        return account


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
