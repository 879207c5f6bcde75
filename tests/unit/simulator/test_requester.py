from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx
import pytest
from starlette.responses import Response

from tests.support.bot_server import Received, bot_server, markup
from trunkline.simulator.contract import WebhookReport
from trunkline.simulator.requester import Overrides, Reply, Requester, redirected

FIELDS = {"CallUUID": "C1", "From": "1415"}


class Signer:
    """Keeps what it was asked to sign."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Sequence[tuple[str, str]]]] = []

    def __call__(
        self, method: str, url: str, fields: Sequence[tuple[str, str]]
    ) -> Mapping[str, str]:
        self.asked.append((method, url, fields))
        return {"X-Signature": str(len(self.asked))}


async def request(
    url: str, method: str = "POST", defaults: Overrides | None = None
) -> tuple[Reply, Signer, list[WebhookReport]]:
    signer, reports = Signer(), list[WebhookReport]()
    async with httpx.AsyncClient(trust_env=False) as http:
        requester = Requester(
            http=http,
            sign=signer,
            via=None,
            on_report=reports.append,
            headers={"User-Agent": "carrier"},
            defaults=defaults,
        )
        reply = await requester.request(
            url, FIELDS, kind="inbound", method=method, headers={"X-More": "1"}
        )
    return reply, signer, reports


async def test_a_form_is_signed_and_sent() -> None:
    async with bot_server(lambda _: markup("<Response/>")) as server:
        reply, signer, reports = await request(f"{server.url}/in?x=1")
        (received,) = server.received
    assert (reply.status, reply.text) == (200, "<Response/>")
    assert signer.asked == [("POST", f"{server.url}/in?x=1", tuple(FIELDS.items()))]
    assert received.fields == FIELDS
    wanted = {"x-signature": "1", "user-agent": "carrier", "x-more": "1"}
    assert wanted.items() <= received.headers.items()
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"
    assert [(each.kind, each.status) for each in reports] == [("inbound", 200)]


async def test_by_get_the_fields_are_signed_in_the_url() -> None:
    async with bot_server(lambda _: markup("<Response/>")) as server:
        _, signer, _ = await request(f"{server.url}/in", method="get")
        (received,) = server.received
    assert received.fields == FIELDS
    assert signer.asked == [("GET", f"{server.url}/in?CallUUID=C1&From=1415", ())]


async def test_retries_are_the_carriers_unless_the_url_says_otherwise() -> None:
    def fail(_: Received) -> Response:
        return Response(status_code=503)

    eager = Overrides(retries=2, retry_on=frozenset({"5xx"}))
    async with bot_server(fail) as server:
        await request(server.url, defaults=eager)
        assert len(server.received) == 3
        await request(f"{server.url}#rc=0", defaults=eager)
        assert len(server.received) == 4
        await request(f"{server.url}#rp=4xx", defaults=eager)
        assert len(server.received) == 5


async def test_nobody_there_is_no_error() -> None:
    async with bot_server(lambda _: markup("")) as server:
        pass
    reply, _, reports = await request(server.url)
    assert (reply.status, reply.error) == (None, "ct")
    assert len(reports) == 2


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://x/", Overrides()),
        ("https://x/#ct=100", Overrides(connect_timeout_ms=100)),
        ("https://x/#tt=9000&rt=4000", Overrides(total_timeout_ms=4000)),
        ("https://x/#rc=3&rp=rt,5xx", Overrides(retries=3, retry_on=frozenset({"rt", "5xx"}))),
    ],
)
def test_overrides(url: str, expected: Overrides) -> None:
    assert Overrides().override(url) == expected


def test_where_a_url_is_really_sent() -> None:
    assert redirected("https://a@x.test/p?q#f", None) == ("https://a@x.test/p?q", "x.test")
    sent = redirected("https://x.test/p?q", "http://127.0.0.1:8000")
    assert sent == ("http://127.0.0.1:8000/p?q", "x.test")
