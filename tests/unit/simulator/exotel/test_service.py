from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from tests.support.bot_server import Received, Stream, bot_server, markup
from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.exotel.rest import ExotelClient
from trunkline.errors import CarrierRejected, ConfigError
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.contract import Setup
from trunkline.simulator.exotel.service import ExotelService, ExotelSimulator
from trunkline.telephony.call import CallEvent
from trunkline.telephony.carrier import DialOrder, StreamConnect
from trunkline.telephony.webhook import Document

CALLEE = "09876543210"


def account_of(exotel: ExotelService) -> ExotelAccount:
    environment = exotel.environment
    return ExotelAccount.model_validate(
        {name.removeprefix("EXOTEL_").lower(): value for name, value in environment.items()}
    )


def order(url: str, **changes: Any) -> DialOrder:
    fields: dict[str, Any] = {
        "call_id": "c1",
        "to_number": "+919876543210",
        "from_number": "+918047091234",
        "stream": StreamConnect(stream_url=f"{url.replace('http', 'ws')}/media"),
        "answer": Document(content_type="application/xml", body=b""),
        "answer_url": f"{url}/answer",
        "status_url": f"{url}/events/c1",
    }
    return DialOrder(**{**fields, **changes})


async def hang_up_soon(stream: Stream) -> None:
    await stream.receive_until("start")


def told(received: list[Received]) -> list[tuple[str, str]]:
    bodies = [json.loads(each.body) for each in received]
    return [(body["EventType"], body["Status"]) for body in bodies]


async def test_the_environment_makes_a_server_take_it_for_exotel() -> None:
    async with ExotelSimulator().open(Setup()) as exotel:
        account = account_of(exotel)
        assert account.rest_base_url == exotel.base_url
        assert list(account.missing()) == []
        async with httpx.AsyncClient() as http:
            client = ExotelClient(account, http)
            await client.check_credentials()
            assert await client.fetch_number("+918047091234") is not None
            wrong = account.model_copy(update={"api_key": "wrong"})
            with pytest.raises(CarrierRejected):
                await ExotelClient(wrong, http).check_credentials()


async def test_keys_are_needed() -> None:
    with pytest.raises(ConfigError, match="EXOTEL_API_KEY"):
        async with ExotelSimulator().open(Setup(account=ExotelAccount(account_sid="a"))):
            pass


async def test_keys_that_are_given_are_used() -> None:
    given = ExotelAccount.model_validate(
        {
            "account_sid": "acct1",
            "api_key": "key",
            "api_token": "token",
            "webhook_user": "exo",
            "webhook_password": "secret",
        }
    )
    async with ExotelSimulator().open(Setup(account=given)) as exotel:
        assert exotel.environment["EXOTEL_WEBHOOK_PASSWORD"] == "secret"
        assert exotel.credentials == ("key", "token")


async def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setup = Setup(rest_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            async with ExotelSimulator().open(setup):
                pass


async def test_an_error_of_the_guest_comes_out_unwrapped() -> None:
    with pytest.raises(ZeroDivisionError):
        async with ExotelSimulator().open(Setup()):
            _ = 1 // 0


async def test_our_client_dials() -> None:
    async with (
        bot_server(lambda _: Response(), hang_up_soon) as server,
        ExotelSimulator().open(Setup()) as exotel,
        httpx.AsyncClient() as http,
    ):
        client = ExotelClient(account_of(exotel), http)
        placed = await client.place_call(order(server.url))
        report = await exotel.placed(placed.carrier_call_id)
        call = await client.fetch_call(placed.carrier_call_id)
        await client.hang_up(placed.carrier_call_id)

    assert report.status == "completed"
    assert told(server.received) == [
        ("ringing", "in-progress"),
        ("answered", "in-progress"),
        ("terminal", "completed"),
    ]
    assert [each.path for each in server.received] == ["/events/c1"] * 3
    assert call is not None
    assert (call.event, call.to_number) == (CallEvent.COMPLETED, "+919876543210")
    assert exotel.rest_requests[0]["From"] == CALLEE


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED])
async def test_a_call_that_nobody_takes(outcome: str) -> None:
    async with (
        bot_server(lambda _: Response()) as server,
        ExotelSimulator().open(Setup()) as exotel,
        httpx.AsyncClient() as http,
    ):
        exotel.callees[CALLEE] = Callee(outcome=outcome)
        placed = await ExotelClient(account_of(exotel), http).place_call(order(server.url))
        await exotel.placed(placed.carrier_call_id)
    assert told(server.received)[-1] == ("terminal", outcome)
    assert server.streams == []


async def test_the_other_kind_of_account_connects_by_the_answered_callback() -> None:
    def answer(received: Received) -> Response:
        if json.loads(received.body)["EventType"] != "answered":
            return Response()
        url = f"ws://{received.headers['host']}/by-callback"
        return markup(f'<Response><Connect><Stream url="{url}"/></Connect></Response>')

    async with (
        bot_server(answer, hang_up_soon) as server,
        ExotelSimulator().open(Setup()) as exotel,
        httpx.AsyncClient() as http,
    ):
        exotel.connects_by_callback = True
        client = ExotelClient(account_of(exotel), http)
        placed = await client.place_call(order(server.url))
        report = await exotel.placed(placed.carrier_call_id)
        server.answer = lambda _: Response()
        silent = await client.place_call(order(server.url))
        unheard = await exotel.placed(silent.carrier_call_id)

    assert report.status == "completed"
    assert [stream.path for stream in server.streams] == ["/by-callback"]
    assert unheard.status == "failed"
    assert [violation.code for violation in unheard.violations] == ["no_stream"]
