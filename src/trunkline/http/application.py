"""Builds the front's FastAPI application from its parts."""

from __future__ import annotations

from fastapi import FastAPI

from trunkline import __version__
from trunkline.calls.ports import Context
from trunkline.http import carrier_routes, operations
from trunkline.http.api import agents, calls, settings
from trunkline.http.errors import add_error_handlers
from trunkline.http.limits import BodyLimit
from trunkline.http.peer import Networks

__all__ = ["create_app"]

DESCRIPTION = """
Voice bots on the phone, whatever the carrier. Every `/api` route needs an API key
(`Authorization: Bearer tk_…`, made by `trunkline keys create`). Errors have one shape:
`{"error": {"code", "message", "details"}}`.
"""


def create_app(context: Context, *, no_auth: bool, trusted_proxies: Networks = ()) -> FastAPI:
    """The application.

    Args:
        context: What use cases work with.
        no_auth: Open the API to direct requests from this machine.
        trusted_proxies: Whose ``X-Forwarded-For`` counts, for the log.
    """
    app = FastAPI(title="Trunkline", version=__version__, description=DESCRIPTION)
    app.state.context = context
    app.state.no_auth = no_auth
    app.state.trusted_proxies = trusted_proxies
    app.add_middleware(BodyLimit)
    add_error_handlers(app)
    for router in (
        operations.router,
        carrier_routes.router,
        agents.router,
        calls.router,
        settings.router,
    ):
        app.include_router(router)
    return app
