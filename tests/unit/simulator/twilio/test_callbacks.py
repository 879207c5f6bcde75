from __future__ import annotations

import httpx
from starlette.responses import Response

from tests.support.bot_server import BotServer, Received, bot_server
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.twilio.callbacks import StatusCallbacks
from trunkline.simulator.twilio.requester import Requester

ALL = frozenset({"initiated", "ringing", "answered", "completed"})
ORDER = ("initiated", "ringing", "answered", "completed")


def accept(_: Received) -> Response:
    return Response()


async def report_all(
    server: BotServer, *, events: frozenset[str] = ALL, faults: Faults | None = None
) -> list[tuple[str, str]]:
    """Return what came: sequence number and event."""
    async with httpx.AsyncClient(trust_env=False) as http:
        requester = Requester(http=http, auth_token="t", via=None, on_report=lambda _: None)
        callbacks = StatusCallbacks(
            requester=requester, url=f"{server.url}/events/1", events=events, faults=faults
        )
        for event in ORDER:
            callbacks.report(event, {"CallStatus": event})
        callbacks.finish()
        await callbacks.run()
    return [(each.fields["SequenceNumber"], each.fields["CallStatus"]) for each in server.received]


async def test_callbacks_are_numbered_and_come_in_order() -> None:
    async with bot_server(accept) as server:
        found = await report_all(server)

    assert found == [("0", "initiated"), ("1", "ringing"), ("2", "answered"), ("3", "completed")]
    assert server.received[0].fields["CallbackSource"] == "call-progress-events"


async def test_only_what_was_subscribed_to_comes() -> None:
    async with bot_server(accept) as server:
        found = await report_all(server, events=frozenset({"completed"}))

    assert found == [("0", "completed")]


async def test_reordered_callbacks_keep_their_numbers() -> None:
    faults = Faults(wanted=frozenset({Fault.REORDER_CALLBACKS}))
    async with bot_server(accept) as server:
        found = await report_all(server, faults=faults)

    assert found == [("1", "ringing"), ("0", "initiated"), ("3", "completed"), ("2", "answered")]


async def test_with_an_odd_number_none_is_lost() -> None:
    faults = Faults(wanted=frozenset({Fault.REORDER_CALLBACKS}))
    async with bot_server(accept) as server:
        found = await report_all(server, events=ALL - {"initiated"}, faults=faults)

    assert [number for number, _ in found] == ["1", "0", "2"]


async def test_a_duplicate_has_the_same_delivery_id() -> None:
    faults = Faults(wanted=frozenset({Fault.DUPLICATE_CALLBACKS}))
    async with bot_server(accept) as server:
        found = await report_all(server, faults=faults)
        tokens = [each.headers["i-twilio-idempotency-token"] for each in server.received]

    assert [number for number, _ in found] == list("00112233")
    assert len(set(tokens)) == 4
