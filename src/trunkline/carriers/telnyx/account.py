"""Credentials at Telnyx and how its numbers are attached (https://developers.telnyx.com/api)."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationInfo, field_validator

from trunkline.carriers.telnyx.wire import Media
from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.numbers import parse_e164

__all__ = ["TelnyxAccount"]

_DEFAULT_API_BASE = "https://api.telnyx.com"
_PUBLIC_KEY_BYTES = 32
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class TelnyxAccount(CarrierAccount):
    """One Telnyx account and the application that its numbers are attached to.

    With ``account_sid`` the application is a TeXML application, and calls are placed by the TeXML
    API. Without it, it is a Call Control application.
    """

    ENV_PREFIX: ClassVar[str] = "TELNYX_"

    api_key: SecretStr | None = None
    """API v2 key, ``KEY…``."""
    public_key: str | None = None
    """Base64 of the 32 bytes that check webhooks: Keys & Credentials → Public Key."""
    connection_id: str | None = None
    """Id of the TeXML or Call Control application; calls are placed through it."""
    account_sid: str | None = None
    """The account's id as TeXML requests name it in ``AccountSid``, a UUID."""
    media: Media = Media.PCMU
    """What streams carry. L16 is documented for Call Control only, and its byte order nowhere."""
    accept_get: bool = False
    """Take webhooks by GET. The signature then covers nothing of what they say."""
    api_base: str | None = None
    """Base URL of the REST API in place of Telnyx's own, for a stand-in or a proxy."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """``TELNYX_ACCOUNT_SID=`` in an environment file means that nothing was set."""
        if isinstance(value, str):
            default: object = cls.model_fields[str(info.field_name)].default
            return value.strip() or default
        return value

    @field_validator("phone_number")
    @classmethod
    def _check_phone_number(cls, value: str | None) -> str | None:
        return None if value is None else parse_e164(value, field="phone_number")

    @field_validator("public_key")
    @classmethod
    def _check_public_key(cls, value: str | None) -> str | None:
        # Mistaken for the API key, and cut short, when pasted.
        if value is not None and len(_decoded(value)) != _PUBLIC_KEY_BYTES:
            raise ConfigError("must be the Base64 of 32 bytes", field="public_key")
        return value

    @field_validator("connection_id", "account_sid")
    @classmethod
    def _check_id(cls, value: str | None) -> str | None:
        # Both travel in the paths of requests.
        if value is not None and not _ID.fullmatch(value):
            raise ConfigError("must be an id of letters, digits and hyphens")
        return value

    @field_validator("api_base")
    @classmethod
    def _check_api_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ConfigError("must be a URL such as https://api.telnyx.com", field="api_base")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ConfigError("must be https: credentials are sent to it", field="api_base")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError("must not have a query, a fragment or a user name", field="api_base")
        return value.rstrip("/")

    @property
    def account_id(self) -> str:
        """The account's id, as webhooks name it in ``AccountSid``; empty when unset."""
        return self.account_sid or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what must be set: one key that checks, one that commands."""
        names = self.environment()
        needed = ("api_key", "public_key", "connection_id")
        return [names[field] for field in needed if getattr(self, field) is None]

    @property
    def rest_base_url(self) -> str:
        """Scheme and host of the REST API, without a slash at the end."""
        return self.api_base or _DEFAULT_API_BASE

    @property
    def public_key_bytes(self) -> bytes | None:
        """The key that checks webhooks, 32 bytes; None when unset."""
        return None if self.public_key is None else _decoded(self.public_key)

    @property
    def bearer(self) -> str:
        """The API key.

        Raises:
            ConfigError: It is not set.
        """
        if self.api_key is None:
            raise ConfigError(f"set {self.environment()['api_key']}", field="api_key")
        return self.api_key.get_secret_value()

    @classmethod
    def require(cls, account: CarrierAccount) -> TelnyxAccount:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"a Telnyx account is needed, not {type(account).__name__}")
        return account


def _decoded(public_key: str) -> bytes:
    try:
        return b64decode(public_key, validate=True)
    except ValueError:
        return b""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
