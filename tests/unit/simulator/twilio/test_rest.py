from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from tests.support.bot_server import Received, bot_server, markup
from trunkline.simulator.callee import Callee, Outcome
from trunkline.simulator.contract import Setup
from trunkline.simulator.twilio.rest import RestFault
from trunkline.simulator.twilio.service import TwilioService, TwilioSimulator

GOOD = {
    "To": "+14155550100",
    "From": "+15005550006",
    "Twiml": "<Response><Pause length='60'/></Response>",
}


class Api:
    """The REST API as a client with credentials sees it."""

    def __init__(self, twilio: TwilioService, http: httpx.AsyncClient) -> None:
        self.twilio = twilio
        self._http = http
        self._root = f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}"

    async def send(
        self, method: str, path: str, fields: dict[str, str] | None = None, token: str | None = None
    ) -> httpx.Response:
        token = token or self.twilio.environment["TWILIO_AUTH_TOKEN"]
        key = "params" if method == "GET" else "data"
        auth = (self.twilio.account_sid, token)
        return await self._http.request(method, self._root + path, auth=auth, **{key: fields})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with TwilioSimulator().open(Setup()) as twilio, httpx.AsyncClient() as http:
        yield Api(twilio, http)


async def test_wrong_credentials_are_refused_as_twilio_does(api: Api) -> None:
    response = await api.send("GET", "/Calls.json", token="wrong")

    assert (response.status_code, response.json()["code"]) == (401, 20003)


async def test_no_credentials_are_refused(api: Api) -> None:
    async with httpx.AsyncClient() as http:
        url = f"{api.twilio.base_url}/2010-04-01/Accounts/{api.twilio.account_sid}/Calls.json"
        response = await http.get(url, headers={"Authorization": "Basic !"})

    assert response.status_code == 401


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    for method, path in (
        ("GET", "/Calls/CA9.json"),
        ("POST", "/Calls/CA9.json"),
        ("POST", "/IncomingPhoneNumbers/PN9.json"),
    ):
        response = await api.send(method, path)
        assert (response.status_code, response.json()["code"]) == (404, 20404)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"To": ""}, 21201),
        ({"From": ""}, 21213),
        ({"To": "123"}, 21211),
        ({"To": "+1234"}, 21211),
        ({"From": "somebody"}, 21212),
        ({"Twiml": "<Response>" + " " * 4000 + "</Response>"}, 21623),
    ],
)
async def test_a_bad_dial_is_refused_and_nobody_is_called(
    api: Api, change: dict[str, str], code: int
) -> None:
    response = await api.send("POST", "/Calls.json", GOOD | change)

    assert (response.status_code, response.json()["code"]) == (400, code)
    assert (await api.send("GET", "/Calls.json")).json()["calls"] == []


async def test_a_dial_without_a_document_is_refused(api: Api) -> None:
    response = await api.send("POST", "/Calls.json", {"To": GOOD["To"], "From": GOOD["From"]})

    assert response.json()["code"] == 21205


async def test_a_call_is_created_shown_hung_up_and_then_not_changed_any_more(api: Api) -> None:
    created = await api.send("POST", "/Calls.json", GOOD)
    path = f"/Calls/{created.json()['sid']}.json"
    assert created.status_code == 201
    assert created.json()["direction"] == "outbound-api"
    assert (await api.send("GET", path)).json()["to"] == GOOD["To"]

    assert (await api.send("POST", path, {"Status": "completed"})).status_code == 200
    report = await api.twilio.placed(created.json()["sid"])
    again = await api.send("POST", path, {"Status": "completed"})

    assert report.hung_up_by.value == "rest"
    assert (again.status_code, again.json()["code"]) == (400, 21220)
    assert (await api.send("GET", path)).json()["duration"] is not None


async def test_a_ringing_call_can_be_canceled_but_not_redirected(api: Api) -> None:
    api.twilio.callees[GOOD["To"]] = Callee(ring_s=60)
    created = await api.send("POST", "/Calls.json", GOOD)
    path = f"/Calls/{created.json()['sid']}.json"
    redirected = await api.send("POST", path, {"Twiml": "<Response/>"})
    canceled = await api.send("POST", path, {"Status": "canceled"})
    report = await api.twilio.placed(created.json()["sid"])

    assert redirected.json()["code"] == 21220
    assert canceled.status_code == 200
    assert report.status == "canceled"


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.NO_ANSWER, Outcome.FAILED])
async def test_a_callee_may_not_answer(api: Api, outcome: str) -> None:
    api.twilio.callees[GOOD["To"]] = Callee(outcome=outcome, ring_s=0)
    created = await api.send("POST", "/Calls.json", GOOD)
    report = await api.twilio.placed(created.json()["sid"])
    page = await api.send("GET", "/Calls.json", {"Status": outcome})

    assert report.status == outcome
    assert [call["sid"] for call in page.json()["calls"]] == [created.json()["sid"]]


async def test_an_unknown_status_is_refused(api: Api) -> None:
    created = await api.send("POST", "/Calls.json", GOOD)
    response = await api.send("POST", f"/Calls/{created.json()['sid']}.json", {"Status": "paused"})

    assert response.status_code == 400


async def test_numbers_are_found_by_part_and_set_up(api: Api) -> None:
    page = (await api.send("GET", "/IncomingPhoneNumbers.json", {"PhoneNumber": "555"})).json()
    (number,) = page["incoming_phone_numbers"]
    path = f"/IncomingPhoneNumbers/{number['sid']}.json"
    await api.send("POST", path, {"VoiceUrl": "https://voice.example.test/in"})
    none = await api.send("GET", "/IncomingPhoneNumbers.json", {"PhoneNumber": "+49"})

    assert api.twilio.numbers[0].voice_url == "https://voice.example.test/in"
    assert none.json()["incoming_phone_numbers"] == []


async def test_faults_are_used_up_one_by_one(api: Api) -> None:
    api.twilio.rest_faults += [
        RestFault(status=429),
        RestFault(status=503),
        RestFault(delay_s=0.05),
    ]
    found = [await api.send("GET", "/Calls.json") for _ in range(4)]

    assert [response.status_code for response in found] == [429, 503, 200, 200]
    assert found[0].json()["code"] == 20429


async def test_a_dial_may_be_carried_out_and_never_confirmed(api: Api) -> None:
    api.twilio.rest_faults.append(RestFault(status=500, after_effect=True))
    response = await api.send("POST", "/Calls.json", GOOD)
    page = await api.send("GET", "/Calls.json")

    assert response.status_code == 500
    assert len(page.json()["calls"]) == 1
    assert api.twilio.rest_requests[0].field("To") == GOOD["To"]


async def test_the_official_sdk_works_with_it() -> None:
    import asyncio

    def accept(_: Received) -> object:
        return markup("<Response/>")

    async with bot_server(accept) as server, TwilioSimulator().open(Setup()) as twilio:
        client = Client(twilio.account_sid, twilio.environment["TWILIO_AUTH_TOKEN"])

        def use() -> tuple[str, str]:
            # The SDK builds its URLs from its own host name; only that is replaced here.
            client.api.base_url = twilio.base_url
            call = client.calls.create(
                to="+14155550100", from_="+15005550006", url=f"{server.url}/answer"
            )
            with pytest.raises(TwilioRestException) as refused:
                client.calls("CA" + "0" * 32).fetch()
            return str(call.sid), str(refused.value.code)

        sid, code = await asyncio.to_thread(use)
        report = await twilio.placed(sid)

    assert code == "20404"
    assert report.status == "completed"
    assert server.of("/answer")[0].fields["CallStatus"] == "in-progress"
