"""The REST API of ``/Account/{id}/Call/``, as far as calls and numbers go. Paths are exact."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias, cast

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trunkline.simulator.play_audio.book import CallEntry, DialForm
from trunkline.simulator.play_audio.peculiarities import Peculiarities

__all__ = ["Exchange", "new_rest_app"]

_API_ID = "97ceeb52-58b6-11e1-86da-77300b68f8bb"
_APPLICATION_ID = "20372631212782780"
_LIVE = {"live": ("ringing", "in-progress"), "queued": ("queued",)}

Body: TypeAlias = Mapping[str, object]
_Handler: TypeAlias = "Callable[[Request, Body], Response]"


class Exchange(Protocol):
    """What the REST API acts on."""

    rules: Peculiarities
    account_id: str
    credentials: Mapping[str, str]
    """Auth id → token."""
    calls: dict[str, CallEntry]
    numbers: dict[str, str]
    """Digits of a number → its answer URL."""
    refusals: list[int]
    """HTTP statuses that the next requests are answered with, in place of being carried out."""

    def place(self, to_number: str, from_number: str, form: DialForm) -> CallEntry:
        """Start an outbound call."""
        ...


class _Api:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Check credentials and account, then do ``handler``."""

        async def respond(request: Request) -> Response:
            exchange = self._exchange
            if exchange.refusals:
                return _error(exchange.refusals.pop(0), "refused on request")
            if not exchange.rules.is_authentic(request, exchange.credentials):
                return _error(401, "Could not verify your access level for that URL.")
            if request.path_params["account"] != exchange.account_id:
                return _error(404, "not found")
            body = await request.body()
            try:
                fields: object = orjson.loads(body) if body else {}
            except orjson.JSONDecodeError:
                return _error(400, "the body is not JSON")
            if not isinstance(fields, dict):
                return _error(400, "the body is not a JSON object")
            return handler(request, cast("Body", fields))

        return respond

    def create_call(self, _: Request, body: Body) -> Response:
        """``POST /Call/``."""
        to_number, from_number = _digits(body.get("to")), _digits(body.get("from"))
        if not (to_number and from_number):
            return _error(400, "to and from must be phone numbers")
        if to_number == from_number:
            return _error(400, "src and destination cannot overlap")
        answer_url = _text(body.get("answer_url"))
        if answer_url is None:
            return _error(400, "answer_url parameter is missing")
        limit = body.get("time_limit")
        detects = body.get("machine_detection") in ("true", "hangup")
        call = self._exchange.place(
            to_number,
            from_number,
            DialForm(
                answer_url=answer_url,
                answer_method=_text(body.get("answer_method")) or "POST",
                ring_url=_text(body.get("ring_url")),
                hangup_url=_text(body.get("hangup_url")),
                ring_timeout_s=float(str(body.get("ring_timeout", 120))),
                time_limit_s=None if limit is None else float(str(limit)),
                amd_url=_text(body.get("machine_detection_url")) if detects else None,
            ),
        )
        return JSONResponse(
            {"api_id": _API_ID, "message": "call fired", "request_uuid": call.uuid},
            status_code=self._exchange.rules.created_status,
        )

    def list_calls(self, request: Request, _: Body) -> Response:
        """``GET /Call/?status=live``: ids only."""
        wanted = _LIVE.get(request.query_params.get("status", ""), ())
        ids = [call.uuid for call in self._exchange.calls.values() if call.status in wanted]
        return JSONResponse({"api_id": _API_ID, "calls": ids})

    def fetch_call(self, request: Request, _: Body) -> Response:
        """``GET /Call/{uuid}/``: the record of one that is over; with ``status`` a live one."""
        call = self._call(request)
        status = request.query_params.get("status")
        if call is None:
            return _error(404, "call not found")
        if status is None:
            return _error(404, "not found") if call.is_open else JSONResponse(call.record())
        if call.status not in _LIVE.get(status, ()):
            return _error(404, "call not found")
        return JSONResponse(call.live())

    def transfer_call(self, request: Request, body: Body) -> Response:
        """``POST /Call/{uuid}/``."""
        call = self._call(request)
        if call is None or call.leg is None:
            return _error(404, "call not found")
        url = _text(body.get("aleg_url"))
        if body.get("legs") != "aleg" or url is None:
            return _error(400, "legs and aleg_url do not fit")
        call.leg.transfer(url, _text(body.get("aleg_method")) or "POST")
        reply = {"api_id": _API_ID, "message": "call transferred", "call_uuids": [call.uuid]}
        return JSONResponse(reply, status_code=202)

    def hang_up(self, request: Request, _: Body) -> Response:
        """``DELETE /Call/{uuid}/``; an unanswered dial is no call where it has its own path."""
        call = self._call(request)
        is_request = self._exchange.rules.has_requests and call is not None and _is_ringing(call)
        if call is None or call.leg is None or is_request:
            return _error(404, "call not found")
        call.leg.end()
        return Response(status_code=204)

    def cancel(self, request: Request, _: Body) -> Response:
        """``DELETE /Request/{uuid}/``."""
        call = self._call(request)
        if call is None or call.leg is None or not _is_ringing(call):
            return _error(404, "request not found")
        call.leg.end()
        return Response(status_code=204)

    def press_keys(self, request: Request, body: Body) -> Response:
        """``POST /Call/{uuid}/DTMF/``."""
        call, digits = self._call(request), _text(body.get("digits"))
        if call is None or call.leg is None:
            return _error(404, "call not found")
        if digits is None:
            return _error(400, "digits parameter is missing")
        call.pressed.append(digits)
        return JSONResponse({"api_id": _API_ID, "message": "digits sent"}, status_code=202)

    def fetch_number(self, request: Request, _: Body) -> Response:
        """``GET /Number/{number}/``."""
        number = request.path_params["number"]
        if number not in self._exchange.numbers:
            return _error(404, "not found")
        root = f"{self._exchange.rules.api_root}/Account/{self._exchange.account_id}"
        application = f"{root}/Application/{_APPLICATION_ID}/"
        return JSONResponse({"number": number, "application": application})

    def fetch_application(self, _: Request, __: Body) -> Response:
        """``GET /Application/{id}/``: all numbers are attached to the one."""
        url = next(iter(self._exchange.numbers.values()), "")
        return JSONResponse({"app_id": _APPLICATION_ID, "answer_url": url, "answer_method": "POST"})

    def list_numbers(self, request: Request, _: Body) -> Response:
        """``GET /numbers``."""
        part = request.query_params.get("search", "")
        items = [{"e164": f"+{number}"} for number in self._exchange.numbers if part in number]
        return JSONResponse({"items": items, "page": 1, "total": len(items)})

    def _call(self, request: Request) -> CallEntry | None:
        return self._exchange.calls.get(request.path_params["uuid"])


def new_rest_app(exchange: Exchange) -> Starlette:
    """Return the API as an ASGI application."""
    api = _Api(exchange)
    root = f"{exchange.rules.api_root}/Account/{{account}}"
    call = f"{root}/Call/{{uuid}}/"
    routes: list[tuple[str, str, _Handler]] = [
        ("POST", f"{root}/Call/", api.create_call),
        ("GET", f"{root}/Call/", api.list_calls),
        ("GET", call, api.fetch_call),
        ("POST", call, api.transfer_call),
        ("DELETE", call, api.hang_up),
        ("POST", f"{call}DTMF/", api.press_keys),
    ]
    if exchange.rules.has_requests:
        routes += [
            ("DELETE", f"{root}/Request/{{uuid}}/", api.cancel),
            ("GET", f"{root}/Number/{{number}}/", api.fetch_number),
            ("GET", f"{root}/Application/{{id}}/", api.fetch_application),
        ]
    else:
        routes.append(("GET", f"{root}/numbers", api.list_numbers))
    app = Starlette(
        routes=[
            Route(path, api.guarded(handler), methods=[method]) for method, path, handler in routes
        ]
    )
    # The slash at the end counts.
    app.router.redirect_slashes = False
    return app


def _is_ringing(call: CallEntry) -> bool:
    return call.direction == "outbound" and call.status in ("queued", "ringing")


def _digits(value: object) -> str:
    text = value.removeprefix("+") if isinstance(value, str) else ""
    return text if text.isascii() and text.isdigit() and 7 <= len(text) <= 15 else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _error(status: int, what: str) -> Response:
    return JSONResponse({"api_id": _API_ID, "error": what}, status_code=status)
