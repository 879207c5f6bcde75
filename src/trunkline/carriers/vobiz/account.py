"""Credentials at Vobiz (https://www.vobiz.ai/docs)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import ClassVar, TypeAlias

from pydantic import field_validator

from trunkline.dialects.auth_account import AuthAccount
from trunkline.errors import ConfigError

__all__ = ["CALLBACK_NETWORKS", "StreamEncoding", "VobizAccount"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

CALLBACK_NETWORKS = "15.206.6.156, 35.154.59.246, 15.207.8.226"
"""Where callbacks come from (Vobiz's IP white-list page, 2026)."""


class StreamEncoding(StrEnum):
    """What a ``<Stream>`` can be asked for. Its ``rate=24000`` is silently refused by Vobiz."""

    PCMU = "PCMU"
    L16_8K = "L16/8000"
    L16_16K = "L16/16000"


class VobizAccount(AuthAccount):
    """One account or subaccount."""

    ENV_PREFIX: ClassVar[str] = "VOBIZ_"
    AUTH_ID: ClassVar[re.Pattern[str]] = re.compile(r"(MA|SA)_[0-9A-Za-z]{1,40}")
    AUTH_ID_FORM: ClassVar[str] = "MA_ (account) or SA_ (subaccount) and letters or digits"
    DEFAULT_API_BASE: ClassVar[str] = "https://api.vobiz.ai/api/v1"

    require_signature: bool = True
    """Refuse webhooks without a signature. The pages differ about which callbacks have one; where
    this is off an unsigned one must come from ``networks``. A signature that is there must fit
    either way."""
    allowed_networks: str | None = None
    """Addresses or networks, with commas between, that webhooks without a signature may come from;
    Vobiz's own unless set."""
    dial_with_plus: bool = False
    """Write numbers with their plus in dials. The pages have both, other software has digits."""

    stream_encoding: StreamEncoding = StreamEncoding.PCMU
    """What our markup asks for, both ways."""
    received_big_endian: bool = False
    """Byte order of L16 from the caller. One page says big, one client too, the newest says
    nothing."""
    sent_big_endian: bool = False
    """Byte order of L16 to the caller. One page says little, one client big."""

    @field_validator("allowed_networks")
    @classmethod
    def _check_networks(cls, value: str | None) -> str | None:
        if value is not None:
            _parse_networks(value)
        return value

    @property
    def networks(self) -> Sequence[Network]:
        """Where webhooks without a signature may come from."""
        return _parse_networks(self.allowed_networks or CALLBACK_NETWORKS)


def _parse_networks(text: str) -> Sequence[Network]:
    try:
        return [ipaddress.ip_network(part.strip()) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "must be addresses or networks such as 203.0.113.0/24", field="allowed_networks"
        ) from None
