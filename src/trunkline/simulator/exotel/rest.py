"""Exotel's REST API, v1, as far as calls and numbers go (https://developer.exotel.com/api)."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trunkline.simulator.exotel.phone import CallEntry, DialForm, basic

__all__ = ["Exchange", "new_rest_app"]

_ROOT = "/v1/Accounts/{account_sid}"
_DEFAULT_TIMEOUT_S = 40.0


class Exchange(Protocol):
    """What the REST API acts on."""

    account_sid: str
    credentials: tuple[str, str]
    """API key and token."""
    connects_by_callback: bool
    """The account is of the kind that ignores ``StreamUrl``."""
    calls: dict[str, CallEntry]
    numbers: list[str]
    rest_requests: list[Mapping[str, str]]

    def place(self, to_number: str, caller_id: str, form: DialForm) -> CallEntry:
        """Start an outbound call."""
        ...


_Answer: TypeAlias = Callable[[Exchange, Request], Awaitable[Response]]


def new_rest_app(exchange: Exchange) -> Starlette:
    """Return the API of one account."""

    def guarded(answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            expected = basic(*exchange.credentials)["Authorization"]
            given = request.headers.get("authorization", "")
            is_ours = request.path_params["account_sid"] == exchange.account_sid
            if not is_ours or not hmac.compare_digest(given.encode(), expected.encode()):
                return _error(401, "Authentication failed")
            return await answer(exchange, request)

        return endpoint

    return Starlette(
        routes=[
            Route(f"{_ROOT}/Calls/connect.json", guarded(_connect), methods=["POST"]),
            Route(f"{_ROOT}/Calls/{{sid}}.json", guarded(_call)),
            Route(f"{_ROOT}/IncomingPhoneNumbers.json", guarded(_numbers)),
        ]
    )


async def _connect(exchange: Exchange, request: Request) -> Response:
    """Dial by Connect Voice AI; there is no flow here that ``Url`` could name."""
    fields = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    exchange.rest_requests.append(fields)
    needed = [fields.get(name, "") for name in ("From", "CallerId", "StreamUrl")]
    if not all(needed) or fields.get("StreamType") != "bidirectional":
        return _error(400, "Mandatory Parameter missing", 34001)
    to_number, caller_id, stream_url = needed
    form = DialForm(
        stream_url=None if exchange.connects_by_callback else stream_url,
        status_url=fields.get("StatusCallback"),
        status_events=[
            value for name, value in fields.items() if name.startswith("StatusCallbackEvents[")
        ],
        custom_field=fields.get("CustomField", ""),
        timeout_s=float(fields.get("TimeOut", _DEFAULT_TIMEOUT_S)),
    )
    return JSONResponse({"Call": exchange.place(to_number, caller_id, form).to_json()})


async def _call(exchange: Exchange, request: Request) -> Response:
    found = exchange.calls.get(request.path_params["sid"])
    return (
        _error(404, "Call not found") if found is None else JSONResponse({"Call": found.to_json()})
    )


async def _numbers(exchange: Exchange, request: Request) -> Response:
    rows = [
        {"IncomingPhoneNumber": {"Sid": number, "PhoneNumber": number}}
        for number in exchange.numbers
    ]
    return JSONResponse({"IncomingPhoneNumbers": rows})


def _error(status: int, message: str, code: int | None = None) -> Response:
    exception: dict[str, object] = {"Status": status, "Message": message}
    if code is not None:
        exception["Code"] = code
    return JSONResponse({"RestException": exception}, status_code=status)
