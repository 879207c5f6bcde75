"""Bodies are limited in size and time before anything reads them."""

from __future__ import annotations

import asyncio

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.http.errors import error_response

__all__ = ["BODY_DEADLINE_S", "MAX_BODY_BYTES", "BodyLimit"]

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
BODY_DEADLINE_S = 10.0  # from the end of the head to the end of the body
TOO_LARGE = f"a body may have {MAX_BODY_BYTES} bytes"


class BodyLimit:
    """ASGI middleware: 413 for a body that is too large, announced or sent; 408 for one too slow.

    Args:
        app: What it stands before.
        deadline_s: Seconds for the whole body.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float = BODY_DEADLINE_S) -> None:
        self._app = app
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced_bytes(scope) > MAX_BODY_BYTES:
            await self._refuse(scope, receive, send)
            return
        deadline_s = asyncio.get_running_loop().time() + self._deadline_s
        received, is_complete = 0, False

        async def counted() -> Message:
            nonlocal received, is_complete
            if is_complete:  # what comes now is the peer's disconnect, hours later perhaps
                return await receive()
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, "the body did not come in time", headers={"Connection": "close"}
                ) from None
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, TOO_LARGE, headers={"Connection": "close"})
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        log.info("request refused", status=413, code="body_too_large")
        response = error_response(413, "body_too_large", TOO_LARGE)
        response.headers["connection"] = "close"
        await response(scope, receive, send)


def _announced_bytes(scope: Scope) -> int:
    """What ``Content-Length`` says; 0 when it says nothing that can be read."""
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    # Twenty digits are more than any body, and than int() may be asked to read at length.
    return int(value[:20]) if value.isdigit() else 0
