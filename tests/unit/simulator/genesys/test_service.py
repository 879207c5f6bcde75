from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from starlette.responses import Response

from tests.support.bot_server import BotServer, Stream, bot_server
from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.carriers.genesys.webhook import verify_upgrade
from trunkline.carriers.genesys.wire import GenesysStream
from trunkline.errors import ConfigError, SignatureError
from trunkline.simulator.caller import Caller, HangUp, Pause, Press
from trunkline.simulator.contract import CallReport, HungUpBy, Ring, Setup
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.genesys.service import GenesysService, GenesysSimulator, media_url
from trunkline.telephony.media import DtmfReceived, StreamEvent, StreamStarted, StreamStopped
from trunkline.telephony.webhook import UpgradeRequest


class Bot:
    """Our protocol core on a socket, and what it understood."""

    def __init__(self, act: Callable[[GenesysStream, StreamEvent], None] | None = None) -> None:
        self.events: list[StreamEvent] = []
        self._act = act

    async def talk(self, stream: Stream) -> None:
        core, clock = GenesysStream(), asyncio.get_running_loop().time
        while True:
            event = await stream.socket.receive()
            if event["type"] == "websocket.disconnect":
                return
            data = event.get("text")
            core.receive_message(event["bytes"] if data is None else data, round(clock() * 1000))
            for told in core.events_received():
                self.events.append(told)
                if self._act is not None:
                    self._act(core, told)
            for message in core.messages_to_send():
                if isinstance(message, str):
                    await stream.socket.send_text(message)
                else:
                    await stream.socket.send_bytes(message)

    def of(self, kind: type[StreamEvent]) -> list[StreamEvent]:
        return [event for event in self.events if isinstance(event, kind)]


async def ring(
    genesys: GenesysService, server: BotServer, caller: Caller, *faults: Fault
) -> CallReport:
    return await genesys.ring(
        Ring(
            webhook_url=f"{server.url}/telephony/genesys/inbound/desk",
            caller=caller,
            faults=Faults(wanted=frozenset(faults), after_ms=400),
        )
    )


def account_of(genesys: GenesysService) -> GenesysAccount:
    environment = genesys.environment
    return GenesysAccount.model_validate(
        {name.removeprefix("GENESYS_").lower(): value for name, value in environment.items()}
    )


def no_webhook(_: object) -> Response:
    raise AssertionError("Genesys has no webhooks")


async def test_a_call() -> None:
    def greet(core: GenesysStream, event: StreamEvent) -> None:
        if isinstance(event, StreamStarted):
            core.send_audio(b"\x55" * 4000)

    bot = Bot(greet)
    async with (
        bot_server(no_webhook, bot.talk) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        genesys.variables = {"tenant": "acme"}
        steps = [Pause(duration_ms=600), Press(digit="4"), Pause(duration_ms=600), HangUp()]
        report = await ring(genesys, server, Caller(steps))

    assert (report.status, report.hung_up_by) == ("completed", HungUpBy.CALLER)
    assert report.violations == ()
    assert report.counts.received_bytes == 4000
    assert report.streams[0].parameters == {"tenant": "acme"}
    (started,) = bot.of(StreamStarted)
    assert isinstance(started, StreamStarted)
    assert started.carrier_call_id == report.carrier_call_id
    assert started.parameters == {"tenant": "acme"}
    assert bot.of(DtmfReceived) == [DtmfReceived(digit="4")]
    assert bot.of(StreamStopped) == [StreamStopped(reason="end", call_ended=True)]
    (stream,) = server.streams
    assert stream.path == "/ws/genesys/desk"


async def test_the_upgrade_is_signed_for_the_account_in_the_environment() -> None:
    bot = Bot()
    async with (
        bot_server(no_webhook, bot.talk) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        account = account_of(genesys)
        assert list(account.missing()) == []
        await ring(genesys, server, Caller([HangUp()]))
        await ring(genesys, server, Caller([HangUp()]), Fault.BAD_UPGRADE_SIGNATURE)
    for number, stream in enumerate(server.streams):
        headers = list(stream.headers.items())
        told = stream.headers["signature-input"].partition("created=")[2]
        request = UpgradeRequest(
            url=f"{server.url.replace('http', 'ws')}{stream.path}",
            headers=headers,
            received_at_s=float(told.partition(";")[0]),
        )
        if number == 0:
            verify_upgrade(request, account)
        else:
            with pytest.raises(SignatureError):
                verify_upgrade(request, account)


async def test_a_bot_that_leaves_gives_the_call_back_to_the_flow() -> None:
    def leave(core: GenesysStream, event: StreamEvent) -> None:
        if isinstance(event, StreamStarted):
            core.send_close()

    bot = Bot(leave)
    async with (
        bot_server(no_webhook, bot.talk) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        report = await ring(genesys, server, Caller([]))
    assert (report.status, report.hung_up_by) == ("completed", HungUpBy.MARKUP)
    assert report.violations == ()
    assert bot.of(StreamStopped) == [StreamStopped(reason="disconnect", call_ended=False)]


async def test_a_server_that_just_closes_leads_to_the_failure_path() -> None:
    async def close(stream: Stream) -> None:
        await stream.socket.receive()

    async with (
        bot_server(no_webhook, close) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        report = await ring(genesys, server, Caller([]))
    assert report.hung_up_by is HungUpBy.CARRIER
    assert [violation.code for violation in report.violations] == ["failure_path"]


async def test_a_refused_socket() -> None:
    async with (
        bot_server(no_webhook) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        server.refuse_upgrade = True
        report = await ring(genesys, server, Caller([]))
    assert report.status == "failed"
    assert report.streams[0].refused_status == 403


async def test_a_lost_socket() -> None:
    bot = Bot()
    async with (
        bot_server(no_webhook, bot.talk) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        report = await ring(genesys, server, Caller([]), Fault.DROP_SOCKET)
    assert report.streams[0].ended_by == "fault"
    assert bot.of(StreamStopped) == []


async def test_a_connection_test() -> None:
    bot = Bot()
    async with (
        bot_server(no_webhook, bot.talk) as server,
        GenesysSimulator().open(Setup()) as genesys,
    ):
        report = await genesys.probe(f"{server.url}/telephony/genesys/inbound/desk")
    assert report.refused_status is None
    assert bot.of(StreamStarted) == []
    assert bot.of(StreamStopped) == [StreamStopped(reason="probe", call_ended=True)]


async def test_secrets_are_needed_and_kept() -> None:
    with pytest.raises(ConfigError, match="GENESYS_CLIENT_SECRET"):
        async with GenesysSimulator().open(
            Setup(account=GenesysAccount.model_validate({"api_key": "key"}))
        ):
            pass
    given = GenesysAccount.model_validate({"api_key": "key", "client_secret": "c2VjcmV0"})
    async with GenesysSimulator().open(Setup(account=given)) as genesys:
        assert genesys.environment["GENESYS_CLIENT_SECRET"] == "c2VjcmV0"
        assert "GENESYS_ORGANIZATION_ID" not in genesys.environment


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://h/telephony/genesys/inbound/desk", "wss://h/ws/genesys/desk"),
        ("http://127.0.0.1:8000/telephony/genesys/inbound/a", "ws://127.0.0.1:8000/ws/genesys/a"),
        ("wss://h/ws/genesys/desk?x=1", "wss://h/ws/genesys/desk?x=1"),
    ],
)
def test_where_the_sockets_are(given: str, url: str) -> None:
    assert media_url(given) == url
