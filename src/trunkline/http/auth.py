"""API keys with roles.

Every ``/api`` route names the role that it needs; there is no route without one. ``--no-auth`` is
for a laptop: it opens the API to requests that come straight from this machine. One that came
through a tunnel or proxy (any forwarding header, or a Host that is not loopback) or from a web page
of another site still needs a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request

from trunkline.calls.ports import Context, utc_now
from trunkline.errors import AccessDenied, InvalidKey, MissingProof
from trunkline.http.peer import is_direct_loopback, peer_of
from trunkline.store.records import Role

__all__ = [
    "Admin",
    "Operator",
    "Viewer",
    "context_of",
    "digest_of",
]

TOUCH_EVERY = timedelta(minutes=1)  # last use is written so often at most
_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


def digest_of(key: str) -> str:
    """What is stored of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()


def context_of(request: Request) -> Context:
    """The use cases' context that ``create_app`` was given."""
    context: Context = request.app.state.context
    return context


def _presented_key(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("x-api-key")


def _needs(role: Role) -> Callable[[Request], Awaitable[Role]]:
    async def check(request: Request) -> Role:
        if request.app.state.no_auth and is_direct_loopback(*peer_of(request)):
            return Role.ADMIN
        presented = _presented_key(request)
        if presented is None:
            raise MissingProof
        store = context_of(request).store
        key = await store.fetch_api_key(digest_of(presented))
        if key is None:
            raise InvalidKey
        if _RANK[key.role] < _RANK[role]:
            raise AccessDenied(f"this needs the role {role.value}")
        now = utc_now()
        if key.last_used_at is None or now - key.last_used_at > TOUCH_EVERY:
            await store.touch_api_key(key.id, now)
        return key.role

    return check


Viewer = Annotated[Role, Depends(_needs(Role.VIEWER))]
Operator = Annotated[Role, Depends(_needs(Role.OPERATOR))]
Admin = Annotated[Role, Depends(_needs(Role.ADMIN))]
