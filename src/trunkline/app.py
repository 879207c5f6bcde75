"""The front's process: the only place that builds objects and wires them.

``python -m trunkline.app --listen-fd N [--ready-fd N] [--no-auth]`` is started by the supervisor
with the listening socket open. The process owns SIGTERM: it means drain (stop admitting, keep
answering until the last call is closed), not close.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog
import uvicorn
from fastapi import FastAPI

from trunkline.calls.accounts import Accounts
from trunkline.calls.background import Background
from trunkline.calls.hub import EventHub
from trunkline.calls.ports import Context
from trunkline.calls.reconcile import RECONCILE_EVERY_S, reconcile
from trunkline.calls.secrets import CredentialCipher, derive_key, load_secret
from trunkline.calls.tokens import StreamTokens
from trunkline.calls.urls import PublicUrls
from trunkline.dispatch.output import configure_logging
from trunkline.dispatch.pool_client import PoolClient
from trunkline.errors import ConfigError, DispatchError, StoreError, TrunklineError
from trunkline.http.application import create_app
from trunkline.http.edge import GuardedHttp, media_edge
from trunkline.http.live import GatewayFleet, MediaDoor, PoolDispatcher
from trunkline.settings import Settings, carrier_environment
from trunkline.store import SqlStore
from trunkline.telephony.call import FINAL_STATES

__all__ = ["Front", "main", "open_front", "serve"]

log = structlog.get_logger(__name__)

REST_TIMEOUT = httpx.Timeout(10.0, connect=5.0)  # seconds; a carrier's webhook waits 15 s for us
PREPARE_TIMEOUT_S = 90.0


@dataclass(slots=True)
class Draining:
    """Whether the process is on its way out."""

    is_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A front that is wired and ready to serve."""

    app: FastAPI
    context: Context
    door: MediaDoor
    draining: Draining


@asynccontextmanager
async def open_front(settings: Settings, *, no_auth: bool, port: int) -> AsyncGenerator[Front]:
    """Build the front; leaving the context closes everything that it opened.

    Args:
        settings: The environment's.
        no_auth: Open the API to direct requests from this machine.
        port: The bound port, for URLs while ``PUBLIC_BASE_URL`` is unset.
    """
    secret = load_secret(
        settings.trunkline_secret_key.get_secret_value() if settings.trunkline_secret_key else None,
        settings.trunkline_home,
    )
    draining = Draining()
    async with AsyncExitStack() as stack:
        store = await SqlStore.open(settings.effective_database_url)
        stack.push_async_callback(store.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=REST_TIMEOUT))
        background = await stack.enter_async_context(Background())
        pool = PoolClient(settings.pool_socket, sender="front")
        background.start(pool.run(), name="pool")
        fleet = GatewayFleet(settings, background)
        context = Context(
            store=store,
            accounts=Accounts(
                store=store,
                cipher=CredentialCipher(secret),
                environment=carrier_environment,
                default_provider=settings.telephony_provider,
            ),
            http=http,
            dispatcher=PoolDispatcher(pool),
            gateways=fleet,
            tokens=StreamTokens(derive_key(secret, "stream tokens")),
            urls=PublicUrls(
                settings.public_base_url or f"http://127.0.0.1:{port}",
                is_configured=settings.public_base_url is not None,
            ),
            hub=EventHub(),
            background=background,
            recordings_dir=settings.recordings_dir,
            max_calls=settings.max_calls,
            is_draining=lambda: draining.is_on,
        )
        fleet.start(context)
        background.start(_keep_reconciled(context), name="reconcile")
        background.start(_warm_agents(context), name="warm agents")
        door = MediaDoor(fleet, trusted_proxies=settings.trusted_proxies)
        door.open(context)
        app = create_app(context, no_auth=no_auth, trusted_proxies=settings.trusted_proxies)
        yield Front(app=app, context=context, door=door, draining=draining)


async def _keep_reconciled(context: Context) -> None:
    """At start, as soon as every gateway has said what it has, and every minute after."""
    while not context.gateways.all_connected():  # noqa: ASYNC110 - other processes set it
        await asyncio.sleep(0.1)
    while True:
        try:
            await reconcile(context)
        except TrunklineError as error:
            log.warning("reconciliation postponed", code=error.code)
        await asyncio.sleep(RECONCILE_EVERY_S)


async def _warm_agents(context: Context) -> None:
    """Have every enabled agent's worker warm before it is called."""
    for agent in await context.store.fetch_agents():
        if not agent.enabled:
            continue
        try:
            for warning in await context.dispatcher.prepare(
                agent, check_only=False, timeout_s=PREPARE_TIMEOUT_S
            ):
                log.warning("agent loaded with a warning", agent=agent.name, warning=warning)
        except (ConfigError, DispatchError) as error:
            log.error("agent cannot be loaded", agent=agent.name, reason=str(error))


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers.

    Here SIGTERM drains, where uvicorn closes its listeners.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    settings: Settings, listener: socket.socket, *, no_auth: bool, ready_fd: int | None
) -> None:
    """Serve until drained."""
    port = listener.getsockname()[1]
    async with open_front(settings, no_auth=no_auth, port=port) as front:
        server = _Server(
            uvicorn.Config(
                front.app,
                http=GuardedHttp,
                ws=media_edge(front.door),
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ws_per_message_deflate=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=5,
                lifespan="off",
            )
        )
        stop = asyncio.Event()
        _own_signals(front, server, stop)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[listener]))
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event
                await asyncio.sleep(0.01)
            gc.collect()
            gc.freeze()
            if ready_fd is not None:
                os.write(ready_fd, b"1")
                os.close(ready_fd)
            log.info("front ready", port=port)
            stopping = group.create_task(_stop_when_drained(front, server, stop, settings))
            await serving
            stopping.cancel()


def _own_signals(front: Front, server: _Server, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def drain() -> None:
        if front.draining.is_on:
            server.should_exit = True
        front.draining.is_on = True
        stop.set()

    def hand_over_to_successor() -> None:
        # A new front is ready on the same listener: finish what is open here, calls are not ours.
        front.context.hub.close()
        server.should_exit = True

    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(signal.SIGINT, drain)
    loop.add_signal_handler(signal.SIGUSR2, hand_over_to_successor)


async def _stop_when_drained(
    front: Front, server: _Server, stop: asyncio.Event, settings: Settings
) -> None:
    """After SIGTERM: go on until the last call's record is closed, or ``DRAIN_TIMEOUT_S``."""
    await stop.wait()
    log.info("draining", live_calls=len(front.context.gateways.live_calls()))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.drain_timeout_s):
            await _until_no_call_is_open(front.context)
    front.context.hub.close()
    server.should_exit = True


async def _until_no_call_is_open(context: Context) -> None:
    while True:
        try:
            calls = await context.store.fetch_open_calls()
            if all(call.state in FINAL_STATES for call in calls):
                return
        except StoreError as error:
            log.warning("drain waits for the database", code=error.code)
        await asyncio.sleep(0.25)


def main() -> None:
    """Entry of the front's process."""
    parser = argparse.ArgumentParser(prog="trunkline.app")
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--no-auth", action="store_true")
    options = parser.parse_args()
    settings = Settings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, process="front")
    listener = socket.socket(fileno=options.listen_fd)
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(
                serve(settings, listener, no_auth=options.no_auth, ready_fd=options.ready_fd)
            )
    except TrunklineError as error:
        log.error("front cannot start", code=error.code, reason=str(error))
        sys.exit(1)


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()
