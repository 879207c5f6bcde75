"""Vobiz's webhooks: who signed them, and its numbers.

What else they say is in ``trunkline.dialects.call_form``.
https://www.vobiz.ai/docs/concepts/validating-callbacks
"""

from __future__ import annotations

import ipaddress

import phonenumbers

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.dialects import call_form
from trunkline.dialects.nonce_signature import base_url, fits_any, split_url, token_bytes
from trunkline.errors import MissingProof, SignatureError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.webhook import IncomingCall, WebhookEvent, WebhookRequest

__all__ = ["nonce", "parse_event", "parse_incoming", "to_e164", "verify"]

_V3, _V3_MAIN, _V3_NONCE = (
    "X-Vobiz-Signature-V3",
    "X-Vobiz-Signature-MA-V3",
    "X-Vobiz-Signature-V3-Nonce",
)
_V2, _V2_MAIN, _V2_NONCE = (
    "X-Vobiz-Signature-V2",
    "X-Vobiz-Signature-MA-V2",
    "X-Vobiz-Signature-V2-Nonce",
)

_VERSIONS = ((_V3, _V3_MAIN, _V3_NONCE, "."), (_V2, _V2_MAIN, _V2_NONCE, ""))
"""The stronger first: the account's signature, the main account's, the nonce of both, and what
stands between URL and nonce. V1's input is not documented, so it counts for nothing."""

_HOME = "IN"
_NATIONAL_DIGITS = 10


def nonce(request: WebhookRequest) -> str | None:
    """The random number that the signature covers; None when there is none."""
    return request.header(_V3_NONCE) or request.header(_V2_NONCE)


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check the V3 signature, or the V2 signature where there is none of V3.

    Both cover the URL without its query, and a nonce. Body and query are covered by neither: who
    has seen one request is kept from sending another only by the nonce, which may come once.

    Raises:
        MissingProof: There is no signature, and one is needed.
        SignatureError: It does not fit, or the request comes from elsewhere.
    """
    holder = VobizAccount.require(account)
    if not holder.auth_token:
        raise SignatureError(
            "the secret that signs is not set up for this account", signed_url=request.url
        )
    for own, main, salt, joint in _VERSIONS:
        if request.header(own) or request.header(main):
            _check(request, holder, (own, main, salt), joint)
            return
    if holder.require_signature:
        raise MissingProof
    _check_address(request, holder)


def _check(
    request: WebhookRequest, account: VobizAccount, names: tuple[str, str, str], joint: str
) -> None:
    own_name, main_name, salt_name = names
    salt = request.header(salt_name)
    if not salt:
        raise SignatureError("there is no nonce", signed_url=request.url)
    own = token_bytes(account.auth_token)
    # A main account is its own main account.
    main = token_bytes(account.main_auth_token) or ([] if account.main_auth_id else own)
    texts = [base_url(split_url(request.url)) + joint + salt]
    fits = [
        fits_any(keys, texts, request.header(name) or "")
        for name, keys in ((own_name, own), (main_name, main))
    ]
    if not any(fits):
        raise SignatureError("no candidate fits", signed_url=request.url)


def _check_address(request: WebhookRequest, account: VobizAccount) -> None:
    try:
        address = ipaddress.ip_address(request.client_host)
    except ValueError:
        raise SignatureError("the sender's address is not known", signed_url=request.url) from None
    if not any(address in network for network in account.networks):
        raise SignatureError("the sender's address is not listed", signed_url=request.url)


def to_e164(number: str) -> str:
    """Write Vobiz's numbers with plus and country code.

    They are digits, with a country code or without: then they are Indian, with a 0 before them or
    ten digits long. Others, and ``sip:…``, are left alone.
    """
    if number.isascii() and number.isdigit():
        if number.startswith("0") and not number.startswith("00"):
            return _from_india(number)
        if len(number) == _NATIONAL_DIGITS:
            return _from_india(number)
    return call_form.to_e164(number)


def _from_india(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number, _HOME)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_valid_number(parsed):
        return call_form.to_e164(number)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def parse_incoming(request: WebhookRequest) -> IncomingCall:
    """Read the request for markup; see ``call_form.parse_incoming``.

    Raises:
        InvalidRequest: It is none.
    """
    return call_form.parse_incoming(request, to_e164)


def parse_event(request: WebhookRequest) -> WebhookEvent:
    """Read a callback; see ``call_form.parse_event``.

    Raises:
        InvalidRequest: It is none.
    """
    return call_form.parse_event(request, to_e164)
