"""What a simulated carrier stands on: its client for webhooks, and the server of its REST API."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import httpx
import uvicorn
from starlette.applications import Starlette

from trunkline.simulator.contract import Setup

__all__ = ["new_client", "new_server"]


class _Server(uvicorn.Server):
    """Leaves signals to the process that it is a guest in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture nothing."""
        yield


def new_server(app: Starlette) -> uvicorn.Server:
    """Return a server for an API; it ends when its ``should_exit`` is set."""
    return _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )


def new_client(setup: Setup) -> httpx.AsyncClient:
    """Return a client for webhooks; the environment's proxies are for hosts elsewhere only."""
    return httpx.AsyncClient(
        verify=True if setup.tls is None else setup.tls,
        trust_env=setup.via is None,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=None),
        mounts={f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")},
    )
