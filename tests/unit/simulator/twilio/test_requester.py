from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import Response
from twilio.request_validator import RequestValidator

from tests.support.bot_server import Received, bot_server, markup
from trunkline.simulator.contract import WebhookReport
from trunkline.simulator.requester import Overrides, Reply, redirected
from trunkline.simulator.twilio.requester import Requester

TOKEN = "0123456789abcdef0123456789abcdef"
FIELDS = {"CallSid": "CA1", "From": "+14155550100", "FromCity": ""}


def hello(_: Received) -> Response:
    return markup("<Response/>")


async def send(
    url: str, *, method: str = "POST", via: str | None = None
) -> tuple[Reply, list[WebhookReport]]:
    reports: list[WebhookReport] = []
    async with httpx.AsyncClient(trust_env=False) as http:
        requester = Requester(http=http, auth_token=TOKEN, via=via, on_report=reports.append)
        reply = await requester.send(url, FIELDS, kind="inbound", method=method)
    return reply, reports


async def test_a_webhook_is_a_signed_form() -> None:
    async with bot_server(hello) as server:
        reply, reports = await send(f"{server.url}/inbound/a?x=%20y")
        (received,) = server.received

    assert reply.status == 200
    assert reply.text == "<Response/>"
    assert received.fields == FIELDS
    assert received.headers["i-twilio-idempotency-token"]
    signature = received.headers["x-twilio-signature"]
    url = f"{server.url}/inbound/a?x=%20y"
    assert RequestValidator(TOKEN).validate(url, FIELDS, signature)
    assert [(report.kind, report.status) for report in reports] == [("inbound", 200)]


async def test_by_get_the_fields_are_in_the_url_and_signed_with_it() -> None:
    async with bot_server(hello) as server:
        await send(f"{server.url}/inbound/a?x=1", method="GET")
        (received,) = server.received

    assert received.body == b""
    assert received.fields == {"x": "1", **FIELDS}
    url = f"{server.url}/inbound/a?{received.query}"
    assert RequestValidator(TOKEN).validate(url, {}, received.headers["x-twilio-signature"])


async def test_a_server_behind_a_proxy_gets_the_public_host_and_its_signature() -> None:
    url = "https://voice.example.test/inbound/a"
    async with bot_server(hello) as server:
        await send(url, via=server.url)
        (received,) = server.received

    assert received.headers["host"] == "voice.example.test"
    assert RequestValidator(TOKEN).validate(url, FIELDS, received.headers["x-twilio-signature"])


async def test_by_default_only_a_failed_connection_is_tried_again() -> None:
    def fail(_: Received) -> Response:
        return Response(status_code=503)

    async with bot_server(fail) as server:
        reply, reports = await send(f"{server.url}/inbound/a")
    down, down_reports = await send(f"{server.url}/inbound/a")

    assert (reply.status, len(reports)) == (503, 1)
    assert (down.status, down.error, len(down_reports)) == (None, "ct", 2)


async def test_overrides_in_the_fragment_are_obeyed_and_not_sent() -> None:
    def fail(_: Received) -> Response:
        return Response(status_code=503)

    async with bot_server(fail) as server:
        _, reports = await send(f"{server.url}/inbound/a#rc=2&rp=5xx")
        tokens = {each.headers["i-twilio-idempotency-token"] for each in server.received}

    assert len(reports) == 3
    assert len(tokens) == 1


async def test_a_server_that_is_slow_gets_no_more_than_its_time() -> None:
    done = asyncio.Event()

    async def wait(_: Received) -> Response:
        await done.wait()
        return Response()

    async with bot_server(wait) as server:
        reply, reports = await send(f"{server.url}/inbound/a#rt=150")
        done.set()

    assert (reply.status, reply.error) == (None, "rt")
    assert 140 <= reports[0].elapsed_ms < 2000


@pytest.mark.parametrize(
    ("fragment", "reply", "wanted"),
    [
        ("", Reply(status=None, error="ct"), True),
        ("", Reply(status=None, error="rt"), False),
        ("", Reply(status=500), False),
        ("#rp=4xx", Reply(status=403), True),
        ("#rp=all", Reply(status=None, error="rt"), True),
        ("#rp=all", Reply(status=200), False),
    ],
)
def test_what_is_tried_again(fragment: str, reply: Reply, wanted: bool) -> None:
    assert Overrides().override(f"https://x.test/{fragment}").wants_retry(reply) is wanted


def test_redirected_leaves_path_and_query_alone() -> None:
    found = redirected("https://u@voice.example.test:444/a?b=%20c#rc=1", "http://127.0.0.1:8000")

    assert found == ("http://127.0.0.1:8000/a?b=%20c", "voice.example.test:444")
