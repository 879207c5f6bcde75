"""Twilio's REST API, 2010-04-01, as far as calls and numbers go, with failures on request.

https://www.twilio.com/docs/voice/api
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

import phonenumbers
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trunkline.simulator.twilio.book import CallBook, CallEntry, NumberEntry
from trunkline.simulator.twilio.phone import DialForm

__all__ = ["Exchange", "RestFault", "RestRequest", "new_rest_app"]

_LONGEST_TWIML_CHARS = 4000
_DEFAULT_TIMEOUT_S = 60.0

_NOT_FOUND_STATUS = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class RestFault:
    """What happens to the next request in place of, or before, its answer."""

    status: int | None = None
    """Answer with this HTTP status: 429 and 5xx as Twilio words them; None: as usual."""
    delay_s: float = 0.0
    """Seconds before the answer."""
    after_effect: bool = False
    """Carry the request out before failing: a dial that was placed and never confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """One request as it came, for whoever wants to look."""

    method: str
    path: str
    fields: tuple[tuple[str, str], ...]

    def field(self, name: str) -> str | None:
        """Return the first field of that name."""
        return next((value for key, value in self.fields if key == name), None)


class Exchange(Protocol):
    """What the REST API acts on."""

    account_sid: str
    credentials: Mapping[str, str]
    """User name → password: the account with its token, API keys with their secrets."""
    book: CallBook
    numbers: list[NumberEntry]
    rest_faults: list[RestFault]
    rest_requests: list[RestRequest]

    def place(self, to_number: str, from_number: str, form: DialForm) -> CallEntry:
        """Start an outbound call."""
        ...


_Handler = Callable[[Request, tuple[tuple[str, str], ...]], Awaitable[Response]]


class _Api:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        """Check credentials and account, apply faults, then do ``handler``."""

        async def respond(request: Request) -> Response:
            fields = await _fields(request)
            self._exchange.rest_requests.append(
                RestRequest(method=request.method, path=request.url.path, fields=fields)
            )
            fault = self._exchange.rest_faults.pop(0) if self._exchange.rest_faults else RestFault()
            if fault.after_effect:
                await handler(request, fields)
            await asyncio.sleep(fault.delay_s)
            if fault.status is not None:
                return _failure(fault.status)
            if not self._is_authentic(request):
                return _error(401, 20003, "Authenticate")
            if request.path_params["account"] != self._exchange.account_sid:
                return _not_found(request)
            return await handler(request, fields)

        return respond

    def _is_authentic(self, request: Request) -> bool:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return False
        wanted = self._exchange.credentials.get(user)
        return wanted is not None and hmac.compare_digest(wanted.encode(), password.encode())

    async def create_call(self, request: Request, fields: tuple[tuple[str, str], ...]) -> Response:
        """``POST /Calls.json``."""
        form = dict(fields)
        to_number, from_number = form.get("To", ""), form.get("From", "")
        problem = _dial_problem(form)
        if problem is not None:
            return problem
        events = frozenset(value for name, value in fields if name == "StatusCallbackEvent")
        limit = form.get("TimeLimit")
        call = self._exchange.place(
            to_number,
            from_number,
            DialForm(
                url=form.get("Url"),
                method=form.get("Method", "POST"),
                twiml=form.get("Twiml"),
                status_url=form.get("StatusCallback"),
                status_method=form.get("StatusCallbackMethod", "POST"),
                status_events=events or frozenset({"completed"}),
                timeout_s=float(form.get("Timeout", _DEFAULT_TIMEOUT_S)),
                time_limit_s=None if limit is None else float(limit),
                detects_machine="MachineDetection" in form and "SendDigits" not in form,
                async_amd=form.get("AsyncAmd") == "true",
                amd_url=form.get("AsyncAmdStatusCallback"),
            ),
        )
        return JSONResponse(call.to_json(), status_code=201)

    async def list_calls(self, request: Request, fields: tuple[tuple[str, str], ...]) -> Response:
        """``GET /Calls.json``."""
        where = dict(fields)
        page_size = int(where.get("PageSize", "50"))
        calls = [call.to_json() for call in self._exchange.book.select(where, page_size)]
        return JSONResponse(
            {"calls": calls, "page": 0, "page_size": page_size, "next_page_uri": None}
        )

    async def fetch_call(self, request: Request, fields: tuple[tuple[str, str], ...]) -> Response:
        """``GET /Calls/{sid}.json``."""
        call = self._exchange.book.find(request.path_params["sid"])
        return _not_found(request) if call is None else JSONResponse(call.to_json())

    async def update_call(self, request: Request, fields: tuple[tuple[str, str], ...]) -> Response:
        """``POST /Calls/{sid}.json``: hang up, cancel, or another document."""
        call = self._exchange.book.find(request.path_params["sid"])
        if call is None:
            return _not_found(request)
        form = dict(fields)
        if call.leg is None or not call.is_open:
            return _error(400, 21220, "Call is not in-progress. Cannot redirect.")
        status = form.get("Status")
        if status == "completed" or (status == "canceled" and call.status != "in-progress"):
            call.leg.end()
        elif status is not None and status != "canceled":
            return _error(400, 20001, f"Invalid Status {status}")
        elif "Url" in form or "Twiml" in form:
            if call.status != "in-progress":
                return _error(400, 21220, "Call is not in-progress. Cannot redirect.")
            if len(form.get("Twiml", "")) > _LONGEST_TWIML_CHARS:
                return _error(400, 21623, "Twiml is longer than 4000 characters")
            call.leg.replace(
                url=form.get("Url"), method=form.get("Method", "POST"), twiml=form.get("Twiml")
            )
        return JSONResponse(call.to_json())

    async def list_numbers(self, request: Request, fields: tuple[tuple[str, str], ...]) -> Response:
        """``GET /IncomingPhoneNumbers.json``; the filter also takes parts of numbers."""
        part = dict(fields).get("PhoneNumber", "")
        found = [each.to_json() for each in self._exchange.numbers if part in each.phone_number]
        return JSONResponse({"incoming_phone_numbers": found, "page": 0, "next_page_uri": None})

    async def update_number(
        self, request: Request, fields: tuple[tuple[str, str], ...]
    ) -> Response:
        """``POST /IncomingPhoneNumbers/{sid}.json``."""
        sid, form = request.path_params["sid"], dict(fields)
        for number in self._exchange.numbers:
            if number.sid == sid:
                number.voice_url = form.get("VoiceUrl", number.voice_url)
                number.voice_method = form.get("VoiceMethod", number.voice_method)
                number.status_callback = form.get("StatusCallback", number.status_callback)
                return JSONResponse(number.to_json())
        return _not_found(request)


def new_rest_app(exchange: Exchange) -> Starlette:
    """Return the API as an ASGI application."""
    api = _Api(exchange)
    root = "/2010-04-01/Accounts/{account}"
    return Starlette(
        routes=[
            Route(f"{root}/Calls.json", api.guarded(api.create_call), methods=["POST"]),
            Route(f"{root}/Calls.json", api.guarded(api.list_calls), methods=["GET"]),
            Route(f"{root}/Calls/{{sid}}.json", api.guarded(api.update_call), methods=["POST"]),
            Route(f"{root}/Calls/{{sid}}.json", api.guarded(api.fetch_call), methods=["GET"]),
            Route(
                f"{root}/IncomingPhoneNumbers.json", api.guarded(api.list_numbers), methods=["GET"]
            ),
            Route(
                f"{root}/IncomingPhoneNumbers/{{sid}}.json",
                api.guarded(api.update_number),
                methods=["POST"],
            ),
        ]
    )


async def _fields(request: Request) -> tuple[tuple[str, str], ...]:
    if request.method == "GET":
        return tuple(request.query_params.multi_items())
    return tuple(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def _dial_problem(form: Mapping[str, str]) -> Response | None:
    """Return Twilio's refusal of a dial, or None."""
    to_number, from_number = form.get("To", ""), form.get("From", "")
    if not to_number:
        return _error(400, 21201, "No 'To' number is specified")
    if not from_number:
        return _error(400, 21213, "No 'From' number is specified")
    for code, number, what in ((21211, to_number, "to call"), (21212, from_number, "from")):
        if not _is_address(number):
            return _error(
                400, code, f"The phone number you are attempting {what}, {number}, is not valid."
            )
    if "Url" not in form and "Twiml" not in form:
        return _error(400, 21205, "Url parameter is required.")
    if len(form.get("Twiml", "")) > _LONGEST_TWIML_CHARS and "Url" not in form:
        return _error(400, 21623, "Twiml is longer than 4000 characters")
    return None


def _is_address(number: str) -> bool:
    if number.startswith(("sip:", "client:")):
        return True
    try:
        return number.startswith("+") and phonenumbers.is_possible_number(
            phonenumbers.parse(number)
        )
    except phonenumbers.NumberParseException:
        return False


def _not_found(request: Request) -> Response:
    path = request.url.path
    return _error(_NOT_FOUND_STATUS, 20404, f"The requested resource {path} was not found")


def _failure(status: int) -> Response:
    if status == 429:
        return _error(429, 20429, "Too Many Requests")
    return _error(status, 20500, "An internal server error has occurred")


def _error(status: int, code: int, message: str) -> Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    content = {"code": code, "message": message, "more_info": more, "status": status}
    return JSONResponse(content, status_code=status)
