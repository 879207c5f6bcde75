"""Credentials of a Genesys Cloud integration (Audio Connector)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import SecretStr, ValidationInfo, field_validator

from trunkline.errors import ConfigError
from trunkline.telephony.carrier import CarrierAccount

__all__ = ["GenesysAccount"]

_API_KEY = re.compile(r"[A-Za-z0-9+/_-]{1,512}={0,2}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class GenesysAccount(CarrierAccount):
    """One integration of one organisation. Both secrets are chosen by whoever sets it up."""

    ENV_PREFIX: ClassVar[str] = "GENESYS_"

    api_key: SecretStr | None = None
    """Sent with each socket as ``X-API-KEY``."""
    client_secret: SecretStr | None = None
    """Base64; what it encodes is the key that sockets are signed with."""
    accept_unsigned: bool = False
    """The integration has no client secret: the API key alone is proof then."""
    organization_id: str | None = None
    """UUID of the organisation; sockets of another are refused. Unset: any that has the secrets."""

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object, info: ValidationInfo) -> object:
        """``GENESYS_API_KEY=`` in an environment file means that nothing was set."""
        if isinstance(value, str):
            return value.strip() or cls.model_fields[info.field_name or ""].default
        return value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _API_KEY.fullmatch(value.get_secret_value()):
            raise ConfigError("must be letters, digits and + / _ - only, as Genesys takes it")
        return value

    @field_validator("client_secret")
    @classmethod
    def _check_client_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _decode(value):
            raise ConfigError("must be base64, as Genesys takes it")
        return value

    @field_validator("organization_id")
    @classmethod
    def _check_organization_id(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _UUID.fullmatch(value.lower()):
            raise ConfigError("must be a UUID such as d7934305-0972-4844-938e-9060eef73d05")
        return value.lower()

    @property
    def account_id(self) -> str:
        """The organisation's id, as ``open`` names it; empty when unset."""
        return self.organization_id or ""

    def missing(self) -> Sequence[str]:
        """Environment names of what sockets cannot be checked without."""
        names = self.environment()
        needed = ["api_key"] if self.accept_unsigned else ["api_key", "client_secret"]
        return [names[field] for field in needed if getattr(self, field) is None]

    @property
    def signing_key(self) -> bytes | None:
        """What the client secret encodes; None when there is none."""
        return None if self.client_secret is None else _decode(self.client_secret)

    @classmethod
    def require(cls, account: CarrierAccount) -> GenesysAccount:
        """Return ``account`` as ours: a carrier's functions take any account by contract.

        Raises:
            TypeError: It belongs to another carrier, which is a bug in the caller.
        """
        if not isinstance(account, cls):
            raise TypeError(f"a Genesys account is needed, not {type(account).__name__}")
        return account


def _decode(secret: SecretStr) -> bytes:
    """The bytes that base64 stands for; none when it is not base64."""
    try:
        return binascii.a2b_base64(secret.get_secret_value().encode(), strict_mode=True)
    except ValueError:
        return b""
