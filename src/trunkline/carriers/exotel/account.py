"""Credentials at Exotel, and what must stand in the URLs that Exotel is given.

https://developer.exotel.com/api/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import ClassVar, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator, model_validator

from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import parse_e164

__all__ = ["NUMBER_REGION", "SAMPLE_RATES_HZ", "ExotelAccount"]

SAMPLE_RATES_HZ = (8000, 16000, 24000)
"""What AgentStream offers, of 16-bit linear audio."""

NUMBER_REGION = "IN"
"""The country whose national numbers Exotel writes: ``09876543210``."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Longer messages would not fit twice into what is sent ahead (Features.lead_ms).
_LEAST_MESSAGE_MS, _MOST_MESSAGE_MS = 20, 200
_DEFAULT_API_BASE = "https://api.in.exotel.com"


class ExotelAccount(CarrierAccount):
    """One account (tenant) in one region.

    Exotel signs nothing. What stands in for a signature is a user name and a password in the URLs
    that are pasted into its console, a token in those that we make, and a list of addresses.
    """

    ENV_PREFIX: ClassVar[str] = "EXOTEL_"

    account_sid: str | None = None
    """The account's name as it stands in API URLs."""
    api_key: str | None = None
    api_token: SecretStr | None = None
    api_base: str | None = None
    """Base URL of the REST API: ``https://api.in.exotel.com`` (Mumbai, the default),
    ``https://api.exotel.com`` (Singapore), or a stand-in."""
    webhook_user: str | None = None
    """User name in the URLs of the console; only together with ``webhook_password``."""
    webhook_password: SecretStr | None = None
    """Password in the URLs of the console. Without the pair, the API key and token count, as
    Exotel's own pages write it; a pair of its own is safer, since proxies log URLs."""
    allowed_networks: str | None = None
    """Addresses or networks, with commas between them, that requests must come from. Exotel tells
    its own on request."""
    flow_id: str | None = None
    """App id of the flow that outbound calls run through. Unset: Connect Voice AI, which dials
    straight to our media URL."""
    sample_rate_hz: int = SAMPLE_RATES_HZ[0]
    """Asked for in the media URLs that we make; a static URL in an applet says its own."""
    message_ms: int = 100
    """Audio in one message to Exotel, in milliseconds, 20 to 200. Its pages contradict each other:
    should speech have gaps, try 200."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """``EXOTEL_FLOW_ID=`` in an environment file means that nothing was set."""
        if isinstance(value, str):
            return value.strip() or cls.model_fields[info.field_name or ""].default
        return value

    @field_validator("phone_number")
    @classmethod
    def _check_phone_number(cls, value: str | None) -> str | None:
        return None if value is None else parse_e164(value, field="phone_number")

    @field_validator("account_sid", "flow_id")
    @classmethod
    def _check_path_part(cls, value: str | None) -> str | None:
        # Both become parts of URLs that credentials are sent to.
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
            raise ConfigError("must be letters, digits, - and _ only")
        return value

    @field_validator("webhook_user")
    @classmethod
    def _check_user(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ConfigError("must not have a colon: it ends the user name in a URL")
        return value

    @field_validator("sample_rate_hz")
    @classmethod
    def _check_rate(cls, value: int) -> int:
        if value not in SAMPLE_RATES_HZ:
            raise ConfigError("must be 8000, 16000 or 24000")
        return value

    @field_validator("message_ms")
    @classmethod
    def _check_message_ms(cls, value: int) -> int:
        if not _LEAST_MESSAGE_MS <= value <= _MOST_MESSAGE_MS:
            raise ConfigError("must be 20 to 200 milliseconds")
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _check_networks(cls, value: str | None) -> str | None:
        if value is not None:
            _parse_networks(value)
        return value

    @field_validator("api_base")
    @classmethod
    def _check_api_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ConfigError("must be a URL such as https://api.exotel.com")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError("must be https: credentials are sent to it")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError("must not have a query, a fragment or a user name")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.webhook_user is None) != (self.webhook_password is None):
            raise ConfigError(
                "webhook_user and webhook_password must be set together", field="webhook_user"
            )
        return self

    @property
    def account_id(self) -> str:
        """The account's SID, as ``start`` names it in ``account_sid``; empty when unset."""
        return self.account_sid or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what must be set."""
        names = self.environment()
        needed = ("account_sid", "api_key", "api_token")
        return [names[field] for field in needed if getattr(self, field) is None]

    @property
    def rest_base_url(self) -> str:
        """Scheme and host of the REST API, without a slash at the end."""
        return self.api_base or _DEFAULT_API_BASE

    @property
    def rest_credentials(self) -> tuple[str, str]:
        """API key and token, for HTTP Basic.

        Raises:
            ConfigError: Something is missing; names what to set.
        """
        if self.account_sid and self.api_key and self.api_token is not None:
            return self.api_key, self.api_token.get_secret_value()
        raise ConfigError(f"set {' and '.join(self.missing())}", field="account_sid")

    @property
    def webhook_credentials(self) -> tuple[str, str] | None:
        """User name and password that must stand in the URLs of the console; None: none is set."""
        if self.webhook_user is not None and self.webhook_password is not None:
            return self.webhook_user, self.webhook_password.get_secret_value()
        if self.api_key is not None and self.api_token is not None:
            return self.api_key, self.api_token.get_secret_value()
        return None

    @property
    def networks(self) -> Sequence[Network]:
        """What ``allowed_networks`` names; empty when any address will do."""
        return () if self.allowed_networks is None else _parse_networks(self.allowed_networks)

    @classmethod
    def require(cls, account: CarrierAccount) -> ExotelAccount:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"an Exotel account is needed, not {type(account).__name__}")
        return account


def _parse_networks(text: str) -> Sequence[Network]:
    try:
        # An empty part is an error too: a list that names nobody must not let everybody in.
        return [ipaddress.ip_network(part.strip()) for part in text.split(",")]
    except ValueError:
        raise ConfigError("must be addresses or networks such as 203.0.113.0/24") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
