"""Plivo's webhooks: who signed them.

What they say is in ``trunkline.dialects.call_form``.
https://www.plivo.com/docs/voice/concepts/signature-validation
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import parse_qsl

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.dialects.call_form import has_form_body, parameters
from trunkline.dialects.nonce_signature import base_url, fits_any, split_url, token_bytes
from trunkline.errors import InvalidRequest, MissingProof, SignatureError
from trunkline.telephony.carrier import CarrierAccount
from trunkline.telephony.webhook import UpgradeRequest, WebhookRequest

__all__ = ["nonce", "verify", "verify_upgrade"]

_V3, _V3_MAIN, _V3_NONCE = (
    "X-Plivo-Signature-V3",
    "X-Plivo-Signature-Ma-V3",
    "X-Plivo-Signature-V3-Nonce",
)
_V2, _V2_NONCE = "X-Plivo-Signature-V2", "X-Plivo-Signature-V2-Nonce"

_UPGRADE_FORMS = ((None, ""), ("https", ""), ("http", ""), ("http", "/websocket"))
"""Scheme (None: as in our markup), and what follows the path, of the URL that a socket's upgrade
signs. The pages say wss; Plivo's own stream library checks http, its demo more (2026-10)."""


def nonce(request: WebhookRequest) -> str | None:
    """The random number that the signature covers; None when there is none."""
    return request.header(_V3_NONCE) or request.header(_V2_NONCE)


def verify(request: WebhookRequest, account: CarrierAccount) -> None:
    """Check the V3 signature over the URL, its query and the form's parameters.

    There is no timestamp. A repeated nonce alone is no forgery: a retry may carry it again.

    Raises:
        MissingProof: There is no signature.
        SignatureError: It does not fit, or the body is not what was signed.
    """
    holder = PlivoAccount.require(account)
    if not _signatures(request):
        _verify_v2(request, holder)
        return
    form: Sequence[tuple[str, str]] = ()
    if has_form_body(request):
        try:
            form = parameters(request)
        except InvalidRequest as error:
            raise SignatureError(error.message, signed_url=request.url) from error
    elif request.body:
        raise SignatureError("the body is not covered by the signature", signed_url=request.url)
    parts = split_url(request.url)
    _check(request, holder, [_join_for_signing(base_url(parts), parts.query, form)])


def verify_upgrade(request: UpgradeRequest, account: CarrierAccount) -> None:
    """Check the V3 signature of a media socket's upgrade.

    With a token of ours in the path nothing is asked for, unless the account says so: which URL
    Plivo signs is not confirmed.

    Raises:
        MissingProof: There is no signature.
        SignatureError: It does not fit.
    """
    holder = PlivoAccount.require(account)
    if request.has_token and not holder.require_upgrade_signature:
        return
    if not _signatures(request):
        raise MissingProof
    parts = split_url(request.url)
    _check(
        request,
        holder,
        [
            _join_for_signing(base_url(parts, scheme=scheme) + more, parts.query, ())
            for scheme, more in _UPGRADE_FORMS
        ],
    )


def _signatures(request: WebhookRequest | UpgradeRequest) -> bool:
    return bool(request.header(_V3) or request.header(_V3_MAIN))


def _join_for_signing(base: str, query: str, form: Iterable[tuple[str, str]]) -> str:
    """What is signed, without the nonce: as the official libraries do, not as the pages say.

    Query and form are decoded and sorted. A form has a question mark before it even where there is
    no query, and a point where there is one.
    """
    asked = "&".join(
        f"{name}={value}" for name, value in sorted(parse_qsl(query, keep_blank_values=True))
    )
    posted = "".join(name + value for name, value in sorted(form))
    if posted:
        return f"{base}?{asked}.{posted}" if asked else f"{base}?{posted}"
    return f"{base}?{asked}" if asked else base


def _check(
    request: WebhookRequest | UpgradeRequest, account: PlivoAccount, candidates: Sequence[str]
) -> None:
    own, main = _keys(account)
    if not (own or main):
        raise SignatureError(
            "the secret that signs is not set up for this account", signed_url=request.url
        )
    salt = request.header(_V3_NONCE)
    if not salt:
        raise SignatureError("there is no nonce", signed_url=request.url)
    texts = [f"{candidate}.{salt}" for candidate in candidates]
    fits = [
        fits_any(keys, texts, request.header(name) or "")
        for name, keys in ((_V3, own), (_V3_MAIN, main))
    ]
    if not any(fits):
        raise SignatureError("no candidate fits", signed_url=request.url)


def _keys(account: PlivoAccount) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """What signs for the (sub)account, and what signs for the main account."""
    own = token_bytes(account.auth_token)
    # A main account is its own main account.
    main = token_bytes(account.main_auth_token) or ([] if account.main_auth_id else own)
    return own, main


def _verify_v2(request: WebhookRequest, account: PlivoAccount) -> None:
    signature, salt = request.header(_V2), request.header(_V2_NONCE)
    if not (account.accept_v2_signature and signature):
        raise MissingProof
    if not salt:
        raise SignatureError("there is no nonce", signed_url=request.url)
    own, _ = _keys(account)
    if not fits_any(own, [base_url(split_url(request.url)) + salt], signature):
        raise SignatureError("no candidate fits", signed_url=request.url)
