"""Carriers' webhooks: one generic route for each purpose, for every carrier.

Find the account, verify the raw bytes, parse, act. No carrier has a route of its own, and each step
fails closed.
"""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response

from trunkline import carriers
from trunkline.calls.admit import admit_inbound, answer_outbound
from trunkline.calls.intake import end_after_stream
from trunkline.calls.ports import Context
from trunkline.calls.report import apply_report
from trunkline.errors import ConfigError, SignatureError, UnknownCall
from trunkline.http.auth import context_of
from trunkline.http.peer import client_address, is_direct_loopback, peer_of
from trunkline.store.records import CallRecord
from trunkline.telephony.carrier import Carrier, CarrierAccount
from trunkline.telephony.webhook import Document, WebhookRequest

__all__ = ["ANY_CALL", "router"]

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "POST"]
ANY_CALL = "_"
"""In the place of a call id in an events URL: the call that the report names by the carrier's own
id.

For URLs that are pasted into a carrier's console.
"""


def _answer(document: Document) -> Response:
    return Response(document.body, status_code=document.status, media_type=document.content_type)


async def _webhook_request(request: Request, context: Context) -> WebhookRequest:
    """The request as the carrier sent it.

    Raises:
        ConfigError: ``PUBLIC_BASE_URL`` is unset and the request does not come from this machine.
    """
    if not context.urls.is_configured and not is_direct_loopback(*peer_of(request)):
        raise ConfigError(
            "carrier routes answer on loopback only until PUBLIC_BASE_URL is set",
            field="PUBLIC_BASE_URL",
        )
    raw_path = request.scope["raw_path"].decode("latin-1")
    raw_query = request.scope["query_string"].decode("latin-1")
    return WebhookRequest(
        method=request.method,
        url=context.urls.http(raw_path, raw_query),
        headers=[
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in request.scope["headers"]
        ],
        body=await request.body(),
        received_at_s=context.now().timestamp(),
        client_host=client_address(*peer_of(request), request.app.state.trusted_proxies),
    )


async def _verified(
    request: Request, carrier: Carrier
) -> tuple[Context, WebhookRequest, CarrierAccount]:
    """The request once its signature has been checked."""
    context = context_of(request)
    webhook = carrier.require_webhook()
    received = await _webhook_request(request, context)
    account = await context.accounts.account_for_webhook(carrier, webhook.account_id(received))
    webhook.verify(received, account)
    nonce = webhook.nonce(received) if webhook.nonce is not None else None
    if nonce is not None:
        context.nonces.check(carrier.name, nonce, _fingerprint(received))
    return context, received, account


def _fingerprint(request: WebhookRequest) -> str:
    """What a copied proof cannot share with the request that it was made for."""
    text = f"{request.method} {request.url}\n".encode() + request.body
    return hashlib.sha256(text).hexdigest()


def _is_report(carrier: Carrier, request: WebhookRequest) -> bool:
    """Whether a request to an answer URL only tells what has happened."""
    webhook = carrier.require_webhook()
    return webhook.is_report is not None and webhook.is_report(request)


def _wants_json(request: WebhookRequest) -> bool:
    return request.method == "GET" or "application/json" in (request.header("accept") or "")


async def _call(context: Context, carrier: Carrier, call_id: str) -> CallRecord:
    call = await context.store.fetch_call(call_id)
    if call is None or call.carrier != carrier.name:
        raise UnknownCall(call_id)
    return call


def _must_match(call: CallRecord, carrier_call_id: str) -> None:
    """A signed report is about the call that it names, and no other; some name none."""
    if carrier_call_id and call.carrier_call_id not in (None, carrier_call_id):
        raise SignatureError("the report names another call than its URL")


@router.api_route("/telephony/{carrier_name}/inbound/{agent_name}", methods=METHODS)
async def inbound(carrier_name: str, agent_name: str, request: Request) -> Response:
    """A call comes in."""
    carrier = carriers.get(carrier_name)
    context, received, account = await _verified(request, carrier)
    if _is_report(carrier, received):
        return await _take_report(context, carrier, account, received, ANY_CALL)
    incoming = carrier.require_webhook().parse_incoming(received)
    document = await admit_inbound(
        context, carrier, account, agent_name, incoming, as_json=_wants_json(received)
    )
    return _answer(document)


@router.api_route("/telephony/{carrier_name}/answer/{call_id}", methods=METHODS)
async def answer(carrier_name: str, call_id: str, request: Request) -> Response:
    """An outbound call was answered, and its markup did not travel with the dial."""
    carrier = carriers.get(carrier_name)
    context, received, account = await _verified(request, carrier)
    if _is_report(carrier, received):
        return await _take_report(context, carrier, account, received, call_id)
    incoming = carrier.require_webhook().parse_incoming(received)
    call = await _call(context, carrier, call_id)
    _must_match(call, incoming.carrier_call_id)
    document = await answer_outbound(context, carrier, account, call, as_json=_wants_json(received))
    return _answer(document)


@router.api_route("/telephony/{carrier_name}/events/{call_id}", methods=METHODS)
async def events(carrier_name: str, call_id: str, request: Request) -> Response:
    """A carrier reports about a call."""
    carrier = carriers.get(carrier_name)
    context, received, account = await _verified(request, carrier)
    return await _take_report(context, carrier, account, received, call_id)


async def _take_report(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    received: WebhookRequest,
    call_id: str,
) -> Response:
    report = carrier.require_webhook().parse_event(received)
    if call_id == ANY_CALL:
        account_id = report.account_id or account.account_id
        found = await context.store.fetch_call_by_carrier_id(
            carrier.name, account_id, report.carrier_call_id
        )
        if found is None:
            raise UnknownCall(report.carrier_call_id)
    else:
        found = await _call(context, carrier, call_id)
        _must_match(found, report.carrier_call_id)
    await apply_report(context, found, report)
    return _answer(carrier.require_markup().accept_event())


@router.api_route("/telephony/{carrier_name}/continue/{call_id}", methods=METHODS)
async def continuation(carrier_name: str, call_id: str, request: Request) -> Response:
    """The stream has ended and the call is still up: end it."""
    carrier = carriers.get(carrier_name)
    context, received, account = await _verified(request, carrier)
    if _is_report(carrier, received):
        return await _take_report(context, carrier, account, received, call_id)
    incoming = carrier.require_webhook().parse_incoming(received)
    call = await _call(context, carrier, call_id)
    _must_match(call, incoming.carrier_call_id)
    await end_after_stream(context, call)
    return _answer(carrier.require_markup().hangup())
