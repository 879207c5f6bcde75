"""Credentials as an auth id and an auth token, with subaccounts, as two carriers have them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator

from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import parse_e164

__all__ = ["AuthAccount"]


class AuthAccount(CarrierAccount):
    """One account or subaccount. Subclasses say how an auth id looks, and where the API is."""

    AUTH_ID: ClassVar[re.Pattern[str]]
    AUTH_ID_FORM: ClassVar[str]
    """``AUTH_ID`` in words."""
    DEFAULT_API_BASE: ClassVar[str]

    auth_id: str | None = None
    """Of the account, or of the subaccount whose calls these are."""
    auth_token: SecretStr | None = None
    """Its token: REST calls are made with it, and webhooks are signed with it."""
    main_auth_id: str | None = None
    """For a subaccount: the main account's id, which webhooks name."""
    main_auth_token: SecretStr | None = None
    """Also accepted on webhooks that the main account's token signs."""
    api_base: str | None = None
    """Base URL of the REST API in place of the carrier's own, for a stand-in or a proxy."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """A name with nothing after the equals sign in an environment file sets nothing."""
        if isinstance(value, str):
            return value.strip() or cls.model_fields[info.field_name or ""].default
        return value

    @field_validator("phone_number")
    @classmethod
    def _check_phone_number(cls, value: str | None) -> str | None:
        return None if value is None else parse_e164(value, field="phone_number")

    @field_validator("auth_id", "main_auth_id")
    @classmethod
    def _check_auth_id(cls, value: str | None) -> str | None:
        # It travels in URLs, and is mistaken for the token when pasted.
        if value is not None and not cls.AUTH_ID.fullmatch(value):
            raise ConfigError(f"must be {cls.AUTH_ID_FORM}", field="auth_id")
        return value

    @field_validator("api_base")
    @classmethod
    def _check_api_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ConfigError(f"must be a URL such as {cls.DEFAULT_API_BASE}", field="api_base")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError("must be https: credentials are sent to it", field="api_base")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError("must not have a query, a fragment or a user name", field="api_base")
        return value.rstrip("/")

    @property
    def account_id(self) -> str:
        """The main account's id, as webhooks name it in ``ParentAuthID``; empty when unset."""
        return self.main_auth_id or self.auth_id or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what must be set: the id, and the token that checks webhooks."""
        names = self.environment()
        return [names[field] for field in ("auth_id", "auth_token") if getattr(self, field) is None]

    @property
    def rest_base_url(self) -> str:
        """Where the REST API is, without a slash at the end."""
        return self.api_base or self.DEFAULT_API_BASE

    @property
    def rest_credentials(self) -> tuple[str, str]:
        """Auth id and token.

        Raises:
            ConfigError: One of them is missing; names what to set.
        """
        if self.auth_id is None or self.auth_token is None:
            raise ConfigError(f"set {' and '.join(self.missing())}", field="auth_id")
        return self.auth_id, self.auth_token.get_secret_value()

    @classmethod
    def require(cls, account: CarrierAccount) -> Self:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"a {cls.__name__} is needed, not {type(account).__name__}")
        return account


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
