"""Credentials at Twilio and where its REST API is reached (https://www.twilio.com/docs/global-infrastructure)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator

from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import parse_e164

__all__ = ["TwilioAccount"]

_DEFAULT_API_BASE = "https://api.twilio.com"
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class TwilioAccount(CarrierAccount):
    """One account or subaccount.

    Calls are placed with the API key when there is one, else with the auth token.
    """

    ENV_PREFIX: ClassVar[str] = "TWILIO_"

    account_sid: str | None = None
    """``AC`` and 32 hexadecimal digits."""
    auth_token: SecretStr | None = None
    """The primary auth token. Twilio signs webhooks with it, so it is needed beside an API key,
    too."""
    secondary_auth_token: SecretStr | None = None
    """Also accepted on webhooks, so that a token can be rotated without refusing calls."""
    shared_key_secret: SecretStr | None = None
    """Secret of the SharedKey that signs webhooks, for accounts that use one in place of the auth
    token."""
    api_key: str | None = None
    """``SK`` and 32 hexadecimal digits; only together with ``api_secret``."""
    api_secret: SecretStr | None = None
    region: str | None = None
    """Such as ``ie1``; only together with ``edge``. Credentials belong to one region."""
    edge: str | None = None
    """Such as ``dublin``."""
    api_base: str | None = None
    """Base URL of the REST API in place of Twilio's own, for a stand-in or a proxy."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        """``TWILIO_REGION=`` in an environment file means that nothing was set."""
        if isinstance(value, str):
            return value.strip() or None
        return value

    @field_validator("phone_number")
    @classmethod
    def _check_phone_number(cls, value: str | None) -> str | None:
        return None if value is None else parse_e164(value, field="phone_number")

    @field_validator("account_sid", "api_key")
    @classmethod
    def _check_sid(cls, value: str | None) -> str | None:
        # The two are mistaken for each other and for the auth token when pasted; both travel in
        # URLs.
        if value is not None and not re.fullmatch(r"(AC|SK)[0-9a-fA-F]{32}", value):
            raise ConfigError("must be AC (account) or SK (API key) and 32 hexadecimal digits")
        return value

    @field_validator("region", "edge")
    @classmethod
    def _check_host_label(cls, value: str | None) -> str | None:
        # It becomes a part of the host that credentials are sent to.
        if value is not None and not _HOST_LABEL.fullmatch(value):
            raise ConfigError("must be a name such as ie1 or dublin")
        return value

    @field_validator("api_base")
    @classmethod
    def _check_api_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        local = _is_loopback(parts.hostname or "")
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ConfigError("must be a URL such as https://api.twilio.com", field="api_base")
        if parts.scheme == "http" and not local:
            raise ConfigError("must be https: credentials are sent to it", field="api_base")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError("must not have a query, a fragment or a user name", field="api_base")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.account_sid is not None and not self.account_sid.startswith("AC"):
            raise ConfigError("account_sid must begin with AC", field="account_sid")
        if self.api_key is not None and not self.api_key.startswith("SK"):
            raise ConfigError("api_key must begin with SK", field="api_key")
        if (self.region is None) != (self.edge is None):
            # A host needs both parts, and api.<region>.twilio.com is not documented any more.
            raise ConfigError("region and edge must be set together", field="region")
        if (self.api_key is None) != (self.api_secret is None):
            raise ConfigError("api_key and api_secret must be set together", field="api_key")
        return self

    @property
    def account_id(self) -> str:
        """The account SID, as webhooks name it in ``AccountSid``; empty when unset."""
        return self.account_sid or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what must be set: the SID, and the token that checks webhooks."""
        names = self.environment()
        return [
            names[field] for field in ("account_sid", "auth_token") if getattr(self, field) is None
        ]

    @property
    def rest_base_url(self) -> str:
        """Scheme and host of the REST API, without a slash at the end."""
        if self.api_base is not None:
            return self.api_base
        if self.region is not None and self.edge is not None:
            return f"https://api.{self.edge}.{self.region}.twilio.com"
        return _DEFAULT_API_BASE

    @property
    def rest_credentials(self) -> tuple[str, str]:
        """Name and password for HTTP Basic: API key and secret, else account SID and auth token.

        Raises:
            ConfigError: Neither pair is complete, or the account SID is missing; names what to set.
        """
        if self.account_sid is not None:
            if self.api_key is not None and self.api_secret is not None:
                return self.api_key, self.api_secret.get_secret_value()
            if self.auth_token is not None:
                return self.account_sid, self.auth_token.get_secret_value()
        raise ConfigError(f"set {' and '.join(self.missing())}", field="account_sid")

    @classmethod
    def require(cls, account: CarrierAccount) -> TwilioAccount:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"a Twilio account is needed, not {type(account).__name__}")
        return account


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
