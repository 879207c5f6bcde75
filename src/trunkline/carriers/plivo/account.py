"""Credentials at Plivo (https://www.plivo.com/docs/account/)."""

from __future__ import annotations

import re
from typing import ClassVar

from trunkline.dialects.auth_account import AuthAccount

__all__ = ["PlivoAccount"]


class PlivoAccount(AuthAccount):
    """One account or subaccount."""

    ENV_PREFIX: ClassVar[str] = "PLIVO_"
    AUTH_ID: ClassVar[re.Pattern[str]] = re.compile(r"(MA|SA)[A-Z0-9]{18}")
    AUTH_ID_FORM: ClassVar[str] = "MA (account) or SA (subaccount) and 18 capitals or digits"
    DEFAULT_API_BASE: ClassVar[str] = "https://api.plivo.com/v1"

    accept_v2_signature: bool = False
    """Also take the deprecated V2 signature of webhooks. It covers neither body nor query: who saw
    one request can forge any other for the same URL."""
    require_upgrade_signature: bool = False
    """Refuse media sockets without a signature that fits even when their token is right. Which form
    of the URL Plivo signs there is not confirmed, so the token alone proves by default."""
