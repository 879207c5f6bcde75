"""The one table of HTTP statuses, and the one shape of errors.

``{"error": {"code", "message", "details"}}``.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from trunkline import errors
from trunkline.http.peer import client_address, peer_of

__all__ = ["STATUS", "add_error_handlers", "error_response", "status_of", "without_query"]

log = structlog.get_logger(__name__)

STATUS: dict[type[errors.TrunklineError], int] = {
    errors.UnknownCarrier: 404,
    errors.UnknownAgent: 404,
    errors.UnknownCall: 404,
    errors.UnsupportedByCarrier: 422,
    errors.InvalidRequest: 422,
    errors.ConfigError: 422,
    errors.Conflict: 409,
    errors.MissingProof: 401,
    errors.InvalidKey: 401,
    errors.SignatureError: 403,
    errors.TokenError: 403,
    errors.AccessDenied: 403,
    errors.NoFreeSlot: 429,
    errors.Draining: 503,
    errors.CarrierTimeout: 504,
    errors.CarrierError: 502,
    errors.DispatchError: 503,
    errors.StoreUnavailable: 503,
    errors.TrunklineError: 500,
}
"""Most specific class first; ``status_of`` walks the exception's own bases."""

_CODE_OF_STATUS = {
    400: "invalid_request",
    401: "missing_proof",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def status_of(error: errors.TrunklineError) -> int:
    """The status for an exception, by the nearest class that the table knows."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(
    status: int, code: str, message: str, details: dict[str, object] | None = None
) -> JSONResponse:
    """One error in the API's shape."""
    content = {"error": {"code": code, "message": message, "details": details or {}}}
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(content, status_code=status, headers=headers)


def _log_refusal(request: Request, status: int, code: str, **fields: object) -> None:
    """One line for each refusal; the route's pattern, because a path may name a number or token."""
    route: object = request.scope.get("route")
    peer, headers = peer_of(request)
    client = client_address(peer, headers, request.app.state.trusted_proxies)
    level = log.error if status >= HTTPStatus.INTERNAL_SERVER_ERROR else log.info
    level(
        "request refused",
        status=status,
        code=code,
        method=request.method,
        route=getattr(route, "path", ""),
        client=client,
        **fields,
    )


async def _trunkline_error(request: Request, error: Exception) -> Response:
    failed = cast("errors.TrunklineError", error)
    status = status_of(failed)
    if isinstance(failed, errors.SignatureError):
        # What was checked helps whoever runs this server; the peer learns only that it failed.
        url = without_query(failed.signed_url)
        _log_refusal(request, status, failed.code, reason=failed.reason, signed_url=url)
        return error_response(status, failed.code, "the signature does not fit")
    _log_refusal(request, status, failed.code)
    return error_response(status, failed.code, str(failed), failed.details)


def without_query(url: str | None) -> str | None:
    """The URL as a log may show it: the query of a webhook names phone numbers."""
    if url is None or "?" not in url:
        return url
    return url.partition("?")[0] + "?…"


async def _http_error(request: Request, error: Exception) -> Response:
    failed = cast("HTTPException", error)
    code = _CODE_OF_STATUS.get(failed.status_code, "http_error")
    _log_refusal(request, failed.status_code, code)
    response = error_response(failed.status_code, code, str(failed.detail))
    response.headers.update(failed.headers or {})
    return response


async def _validation_error(request: Request, error: Exception) -> Response:
    first = cast("RequestValidationError", error).errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    why = str(first["msg"]).removeprefix("Value error, ")
    _log_refusal(request, 422, "invalid_request")
    return error_response(
        422, "invalid_request", f"{where}: {why}" if where else why, {"field": where}
    )


async def _unexpected(_request: Request, error: Exception) -> Response:
    log.error("request failed unexpectedly", exc_info=error)
    return error_response(500, "internal_error", "something went wrong here; the log says what")


def add_error_handlers(app: FastAPI) -> None:
    """Give every route of ``app`` the one error shape."""
    app.add_exception_handler(errors.TrunklineError, _trunkline_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
