from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.bot_server import Received, bot_server, markup
from tests.support.play_audio import (
    account_of,
    connecting,
    opened,
    order,
)
from tests.support.waiting import eventually
from trunkline.dialects.call_api import CallApi
from trunkline.errors import CarrierRejected, CarrierUnavailable
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.contract import HungUpBy
from trunkline.telephony.carrier import AmdMode

NAMES = ("plivo", "vobiz")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_trunklines_own_client_dials_redirects_and_hangs_up(name: str) -> None:
    def answer(received: Received) -> object:
        return markup(connecting(server.url))

    async with (
        bot_server(answer) as server,
        opened(name) as service,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        carrier, account = account_of(service)
        client = carrier.require_client(account, http)
        await client.check_credentials()
        assert await client.fetch_number("+15005550006") is not None
        service.callees["14155550100"] = Callee(answered_by="machine", detection_s=0.0)
        placed = await client.place_call(order(server.url, amd=AmdMode.DETECT))
        uuid = placed.carrier_call_id
        await eventually(lambda: server.streams)
        live = await client.fetch_call(uuid)
        assert live is not None
        assert (live.to_number, live.carrier_word) == ("+14155550100", "in-progress")
        assert [call.carrier_call_id for call in await client.fetch_open_calls()] == [uuid]
        await client.redirect(uuid, f"{server.url}/again")
        await eventually(lambda: len(server.streams) == 2)
        await client.hang_up(uuid)
        report = await service.placed(uuid)
        await client.hang_up(uuid)
        past = await client.fetch_call(uuid)

    assert report.hung_up_by is HungUpBy.REST
    assert past is not None
    assert past.event.value == "completed"
    assert {each.kind for each in report.webhooks} == {
        "ring",
        "answer",
        "amd",
        "transfer",
        "hangup",
    }
    events = {each.fields["Event"] for each in server.of("/events")}
    assert events == {"Ring", "MachineDetection", "Hangup"}


async def test_a_dial_that_nobody_answers_can_be_given_up(name: str) -> None:
    async with (
        bot_server(lambda _: markup("<Response/>")) as server,
        opened(name) as service,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        carrier, account = account_of(service)
        client = carrier.require_client(account, http)
        service.callees["14155550100"] = Callee(ring_s=60)
        placed = await client.place_call(order(server.url))
        await client.hang_up(placed.carrier_call_id)
        report = await service.placed(placed.carrier_call_id)
        assert (report.status, report.hung_up_by) == ("cancel", HungUpBy.REST)
        service.callees["14155550100"] = Callee(ring_s=0, outcome=Outcome.BUSY)
        busy = await client.place_call(order(server.url))
        report = await service.placed(busy.carrier_call_id)
        assert report.status == "busy"
        past = await client.fetch_call(busy.carrier_call_id)
        assert past is not None
        assert past.event.value == "busy"


async def test_what_the_api_refuses(name: str) -> None:
    async with opened(name) as service, httpx.AsyncClient(trust_env=False) as http:
        carrier, account = account_of(service)
        client = carrier.require_client(account, http)
        cases: list[tuple[dict[str, Any], int]] = [
            ({"to_number": "sip:a@b"}, 400),
            ({"to_number": "+15005550006"}, 400),
            ({"answer_url": ""}, 400),
        ]
        for changes, status in cases:
            with pytest.raises(CarrierRejected) as caught:
                await client.place_call(order("https://x", **changes))
            assert caught.value.status == status
        with pytest.raises(CarrierRejected) as caught:
            await client.redirect("nobody", "https://x/")
        assert caught.value.status == 404
        assert await client.fetch_call("nobody") is None
        assert await client.fetch_number("+14155550100") is None
        service.refusals.append(503)
        with pytest.raises(CarrierUnavailable):
            await client.place_call(order("https://x"))
        root = f"{service.base_url}/Account/{service.account_id}"
        assert (await http.get(f"{root}/Call/")).status_code == 401
        # The slash at the end counts.
        assert (await http.get(f"{root}/Call")).status_code == 404


async def test_keys_by_rest(name: str) -> None:
    async with (
        bot_server(lambda _: markup(connecting(server.url))) as server,
        opened(name) as service,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        carrier, account = account_of(service)
        client = carrier.require_client(account, http)
        assert isinstance(client, CallApi)
        placed = await client.place_call(order(server.url))
        await eventually(lambda: server.streams)
        await client.send_dtmf(placed.carrier_call_id, "1w#")
        await client.hang_up(placed.carrier_call_id)
        await service.placed(placed.carrier_call_id)
        assert service.calls[placed.carrier_call_id].pressed == ["1w#"]
        with pytest.raises(CarrierRejected):
            await client.send_dtmf(placed.carrier_call_id, "1")


async def test_a_dial_may_have_limits(name: str) -> None:
    def answer(_: Received) -> object:
        return markup(connecting(server.url))

    async with (
        bot_server(answer) as server,
        opened(name) as service,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        carrier, account = account_of(service)
        client = carrier.require_client(account, http)
        placed = await client.place_call(order(server.url, max_duration_s=1))
        report = await service.placed(placed.carrier_call_id)
        assert (report.status, report.hung_up_by) == ("completed", HungUpBy.CARRIER)
        service.callees["14155550100"] = Callee(ring_s=60)
        late = await client.place_call(order(server.url, ring_timeout_s=0))
        report = await service.placed(late.carrier_call_id)
        assert report.status == "timeout"
        past = await client.fetch_call(late.carrier_call_id)
    assert past is not None
    assert past.event.value == "no_answer"


@pytest.mark.parametrize("body", [b"{", b"[]"])
async def test_bodies_that_are_no_object(name: str, body: bytes) -> None:
    async with opened(name) as service, httpx.AsyncClient(trust_env=False) as http:
        user, token = next(iter(service.credentials.items()))
        url = f"{service.base_url}/Account/{user}/Call/"
        headers = {"X-Auth-ID": user, "X-Auth-Token": token}
        response = await http.post(url, content=body, headers=headers, auth=(user, token))
        assert response.status_code == 400
        other = await http.get(url.replace(user, "MA_2"), headers=headers, auth=(user, token))
        assert other.status_code == 404
