from __future__ import annotations

from dataclasses import dataclass, field

import httpx
import pytest

from trunkline.simulator.exotel.phone import CallEntry, DialForm, new_call
from trunkline.simulator.exotel.rest import new_rest_app

ROOT = "http://exotel.test/v1/Accounts/acct1"
DIAL = {
    "From": "09876543210",
    "CallerId": "08047091234",
    "StreamUrl": "wss://h/ws",
    "StreamType": "bidirectional",
    "StatusCallback": "https://h/events",
    "StatusCallbackEvents[0]": "answered",
    "CustomField": "c1",
    "TimeOut": "20",
}


@dataclass
class Account:
    account_sid: str = "acct1"
    credentials: tuple[str, str] = ("key", "token")
    connects_by_callback: bool = False
    calls: dict[str, CallEntry] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=lambda: ["08047091234"])
    rest_requests: list[object] = field(default_factory=list)
    forms: list[DialForm] = field(default_factory=list)

    def place(self, to_number: str, caller_id: str, form: DialForm) -> CallEntry:
        self.forms.append(form)
        call = new_call(
            account_sid="acct1",
            direction="outbound-api",
            first_number=to_number,
            exophone=caller_id,
        )
        self.calls[call.sid] = call
        return call


async def request(account: Account, method: str, path: str, **more: object) -> httpx.Response:
    transport = httpx.ASGITransport(new_rest_app(account))  # type: ignore[arg-type] - as far as used
    options: dict[str, object] = {"auth": ("key", "token"), **more}
    async with httpx.AsyncClient(transport=transport) as http:
        return await http.request(method, ROOT + path, **options)  # type: ignore[arg-type] - same


async def test_a_dial() -> None:
    account = Account()
    response = await request(account, "POST", "/Calls/connect.json", data=DIAL)
    assert response.status_code == 200
    call = response.json()["Call"]
    assert (call["From"], call["To"], call["Status"]) == (
        *("09876543210", "08047091234"),
        "in-progress",
    )
    assert account.forms == [
        DialForm(
            stream_url="wss://h/ws",
            status_url="https://h/events",
            status_events=["answered"],
            custom_field="c1",
            timeout_s=20.0,
        )
    ]
    again = await request(account, "GET", f"/Calls/{call['Sid']}.json")
    assert again.json() == response.json()


async def test_an_account_that_connects_by_the_callback_ignores_the_url() -> None:
    account = Account(connects_by_callback=True)
    await request(account, "POST", "/Calls/connect.json", data=DIAL)
    assert account.forms[0].stream_url is None


@pytest.mark.parametrize("name", ["From", "CallerId", "StreamUrl", "StreamType"])
async def test_a_dial_lacks_something(name: str) -> None:
    account = Account()
    fields = {key: value for key, value in DIAL.items() if key != name}
    response = await request(account, "POST", "/Calls/connect.json", data=fields)
    assert response.status_code == 400
    assert response.json()["RestException"]["Code"] == 34001
    assert account.forms == []


async def test_who_may_not_ask() -> None:
    account = Account()
    for options in ({"auth": ("key", "wrong")}, {"auth": None}):
        response = await request(account, "GET", "/IncomingPhoneNumbers.json", **options)
        assert response.status_code == 401
    other = await request(account, "GET", "/../acct2/IncomingPhoneNumbers.json")
    assert other.status_code == 401


async def test_what_there_is_and_what_not() -> None:
    account = Account()
    numbers = await request(account, "GET", "/IncomingPhoneNumbers.json")
    (row,) = numbers.json()["IncomingPhoneNumbers"]
    assert row["IncomingPhoneNumber"]["PhoneNumber"] == "08047091234"
    assert (await request(account, "GET", "/Calls/nobody.json")).status_code == 404
