from __future__ import annotations

import asyncio
import signal
import socket

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from trunkline.simulator.contract import Setup
from trunkline.simulator.hosting import new_client, new_server


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def away(_: Request) -> Response:
    return RedirectResponse("/")


async def test_an_api_is_served_and_signals_are_left_alone() -> None:
    app = Starlette(routes=[Route("/", hello), Route("/away", away)])
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = new_server(app)
        async with new_client(Setup()) as http, asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]))
            assert (await http.get(f"{url}/")).text == "hello"
            assert signal.getsignal(signal.SIGTERM) is before
            # A carrier follows no redirects.
            assert (await http.get(f"{url}/away")).status_code == 307
            server.should_exit = True
            await serving


async def test_a_proxy_of_the_environment_is_for_hosts_elsewhere() -> None:
    async with new_client(Setup(via="http://127.0.0.1:1")) as http:
        assert isinstance(http, httpx.AsyncClient)
        assert not http.trust_env
    async with new_client(Setup()) as http:
        assert http.trust_env
