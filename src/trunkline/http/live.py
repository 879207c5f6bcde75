"""The front's links to gateways and pool, in the shape that use cases want (``calls.ports``)."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import structlog

from trunkline import carriers
from trunkline.calls.background import Background
from trunkline.calls.intake import Fact, take_in
from trunkline.calls.ports import Context
from trunkline.calls.stream import StreamGrant, grant_stream, look_up_numbers, stream_not_taken
from trunkline.dispatch.gateway_client import GatewayClient
from trunkline.dispatch.messages import AgentSpec, CallFacts, JournalEntry
from trunkline.dispatch.pool_client import PoolClient
from trunkline.errors import (
    ConfigError,
    DispatchError,
    NoFreeSlot,
    SignatureError,
    StoreError,
    TokenError,
    TrunklineError,
)
from trunkline.http.edge import Refusal, Upgrade
from trunkline.http.errors import status_of, without_query
from trunkline.http.peer import Networks, client_address, is_direct_loopback
from trunkline.settings import Settings
from trunkline.store.records import AgentRecord
from trunkline.telephony.webhook import UpgradeRequest

__all__ = [
    "Fleet",
    "GatewayFleet",
    "MediaDoor",
    "PoolDispatcher",
    "agent_spec",
    "call_facts",
    "take_in_entry",
]

log = structlog.get_logger(__name__)


def agent_spec(agent: AgentRecord) -> AgentSpec:
    """What dispatch and worker need of an agent's row."""
    module = None
    if agent.module is not None:
        path, colon, function = agent.module.partition(":")
        module = str(Path(path).expanduser().absolute()) + colon + function
    return AgentSpec(
        name=agent.name,
        kind=agent.kind.value,
        revision=agent.revision,
        pipeline=dict(agent.pipeline) if agent.pipeline is not None else None,
        module=module,
        present_as=agent.present_as,
        warm=agent.warm,
        max_loop_block_s=agent.max_loop_block_s,
    )


class PoolDispatcher:
    """``calls.ports.Dispatcher`` over the supervisor's pool."""

    def __init__(self, client: PoolClient) -> None:
        self._client = client

    async def reserve(
        self, call_id: str, agent: AgentRecord, *, expires_s: float, timeout_s: float
    ) -> None:
        """See ``calls.ports.Dispatcher``."""
        await self._client.reserve(
            call_id, agent_spec(agent), expires_s=expires_s, timeout_s=timeout_s
        )

    async def release(self, call_id: str) -> None:
        """See ``calls.ports.Dispatcher``."""
        await self._client.release(call_id)

    async def forget(self, name: str) -> None:
        """See ``calls.ports.Dispatcher``."""
        await self._client.forget(name)

    async def prepare(self, agent: AgentRecord, *, check_only: bool, timeout_s: float) -> list[str]:
        """See ``calls.ports.Dispatcher``."""
        return await self._client.prepare(
            agent_spec(agent), check_only=check_only, timeout_s=timeout_s
        )


async def take_in_entry(context: Context, entry: JournalEntry) -> bool:
    """Take one entry in; False when it has to be tried again."""
    fact = Fact(
        key=f"{entry.gateway}:{entry.segment}:{entry.number}",
        call_id=entry.call_id,
        kind=entry.kind,
        at=datetime.fromtimestamp(entry.at, UTC),
        data=entry.data,
    )
    try:
        await take_in(context, fact)
    except StoreError as error:
        log.error("a journal entry could not be stored", call_id=entry.call_id, code=error.code)
        return False
    except Exception:
        # One entry that cannot be understood must not hold up the facts of every other call.
        log.exception("a journal entry was left out", call_id=entry.call_id, kind=entry.kind)
    return True


class GatewayFleet:
    """``calls.ports.Gateways`` over this machine's gateways."""

    def __init__(self, settings: Settings, background: Background) -> None:
        self._settings = settings
        self._background = background
        self.gateways: list[GatewayClient] = []

    def start(self, context: Context) -> None:
        """Connect to every gateway; from now on journals are taken in."""
        for index in range(self._settings.gateways):
            gateway = GatewayClient(
                index=index,
                handover_path=self._settings.handover_socket(index),
                control_path=self._settings.control_socket(index),
                sink=partial(take_in_entry, context),
                look_up=partial(look_up_numbers, context),
                background=self._background,
            )
            self.gateways.append(gateway)
            self._background.start(gateway.run(), name=f"gateway {index}")

    def live_calls(self) -> Collection[str]:
        """See ``calls.ports.Gateways``."""
        return set[str]().union(*(gateway.calls for gateway in self.gateways))

    def all_connected(self) -> bool:
        """See ``calls.ports.Gateways``."""
        return bool(self.gateways) and all(gateway.is_connected for gateway in self.gateways)

    async def end_call(self, call_id: str, *, by: str, reason: str) -> bool:
        """See ``calls.ports.Gateways``."""
        return await self._command(call_id, "end", by=by, reason=reason)

    async def drop_stream(self, call_id: str) -> bool:
        """See ``calls.ports.Gateways``."""
        return await self._command(call_id, "drop", by="carrier", reason="completed")

    async def _command(self, call_id: str, action: str, *, by: str, reason: str) -> bool:
        for gateway in self.gateways:
            if call_id in gateway.calls:
                return await gateway.command(call_id, action, by=by, reason=reason)
        return False

    async def hand_over(self, descriptor: int, head: bytes, facts: CallFacts) -> None:
        """Give a socket to the gateway that has the call, else to the least loaded that takes it.

        Raises:
            DispatchError: no gateway took it.
        """
        by_load = sorted(
            self.gateways,
            key=lambda gateway: (
                facts.call_id not in gateway.calls,
                not gateway.is_connected,
                gateway.load,
            ),
        )
        failure = DispatchError("no gateway is connected")
        for gateway in by_load:
            try:
                await gateway.hand_over(descriptor, head, facts)
            except DispatchError as error:
                log.warning("hand-over failed", call_id=facts.call_id, gateway=gateway.index)
                failure = error
            else:
                return
        raise failure


class Fleet(Protocol):
    """Where a media socket goes."""

    async def hand_over(self, descriptor: int, head: bytes, facts: CallFacts) -> None:
        """Give a socket away; raises ``DispatchError`` when nobody takes it."""
        ...


class MediaDoor:
    """Checks media upgrades and hands their sockets to a gateway (an ``http.edge.UpgradeCheck``).

    Args:
        fleet: Where sockets go.
        trusted_proxies: Whose ``X-Forwarded-For`` counts, for the log.
    """

    def __init__(self, fleet: Fleet, *, trusted_proxies: Networks = ()) -> None:
        self._fleet = fleet
        self._trusted_proxies = trusted_proxies
        self._context: Context | None = None

    def open(self, context: Context) -> None:
        """Let sockets in from now on."""
        self._context = context

    async def __call__(self, upgrade: Upgrade) -> Refusal | None:
        """Check one upgrade; None once a gateway has its socket."""
        if self._context is None:
            return Refusal(503, "starting", "the server is starting")
        try:
            await self._admit(self._context, upgrade)
        except TrunklineError as error:
            peer = client_address(upgrade.client_host, upgrade.headers, self._trusted_proxies)
            return _refusal(error, client=peer)
        return None

    async def _admit(self, context: Context, upgrade: Upgrade) -> None:
        if not context.urls.is_configured and not is_direct_loopback(
            upgrade.client_host, upgrade.headers
        ):
            raise ConfigError(
                "carriers' sockets come from loopback only until PUBLIC_BASE_URL is set",
                field="PUBLIC_BASE_URL",
            )
        carrier, agent_name, token = _path_parts(upgrade.path)
        request = UpgradeRequest(
            url=context.urls.websocket(upgrade.path)
            + (f"?{upgrade.query}" if upgrade.query else ""),
            headers=upgrade.headers,
            received_at_s=context.now().timestamp(),
            client_host=client_address(upgrade.client_host, upgrade.headers, self._trusted_proxies),
        )
        grant = await grant_stream(
            context, carrier_name=carrier, agent_name=agent_name, token=token, upgrade=request
        )
        is_taken = False
        try:
            await self._hand_over(upgrade, grant)
            is_taken = True
        finally:
            if grant.is_static and not is_taken:
                # Beside this check, which may have been cancelled for its time being over.
                why = "no gateway took the stream"
                context.background.start(
                    stream_not_taken(context, grant.call, why), name="stream not taken"
                )

    async def _hand_over(self, upgrade: Upgrade, grant: StreamGrant) -> None:
        try:
            descriptor = upgrade.take_descriptor()
        except OSError as error:
            raise DispatchError("the peer went away") from error
        try:
            await self._fleet.hand_over(descriptor, upgrade.canonical_head(), call_facts(grant))
        finally:
            os.close(descriptor)


def _path_parts(path: str) -> tuple[str, str, str | None]:
    """Carrier, agent and token of a media path; a path of another shape names nobody."""
    parts = path.removeprefix("/ws/").removesuffix("/").split("/")
    if len(parts) == 2:
        return parts[0], parts[1], None
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "", "", None


def _refusal(error: TrunklineError, *, client: str) -> Refusal:
    """The plain HTTP answer; a limit is 503 here, since a carrier's socket can only come later."""
    fields: dict[str, object] = {"client": client}
    if isinstance(error, SignatureError | TokenError | DispatchError):
        fields["reason"] = error.reason
    if isinstance(error, SignatureError):
        fields["signed_url"] = _without_token(error.signed_url)
    status = status_of(error)
    if isinstance(error, NoFreeSlot) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        status = 503
    return Refusal(status, error.code, "the stream is not admitted", fields)


def _without_token(url: str | None) -> str | None:
    """The media URL as a log may show it: carrier and agent, not the proof behind them."""
    before, prefix, path = (without_query(url) or "").partition("/ws/")
    parts = path.split("/")
    return url and before + prefix + "/".join([*parts[:2], *(["…"] if parts[2:] else [])])


def call_facts(grant: StreamGrant) -> CallFacts:
    """What the gateway needs to know of the call."""
    call, agent = grant.call, grant.agent
    return CallFacts(
        call_id=call.id,
        carrier=call.carrier,
        direction=call.direction.value,
        agent=agent_spec(agent),
        from_number=call.from_number,
        to_number=call.to_number,
        account_id=call.account_id,
        carrier_call_id=call.carrier_call_id,
        body=call.body,
        caller_lookup=agent.caller_lookup,
        max_duration_s=float(grant.max_duration_s),
        silence_timeout_s=float(agent.silence_timeout_s),
        lead_ms=carriers.get(call.carrier).features.lead_ms,
        record=agent.record,
        recording_path=str(grant.recording_path) if grant.recording_path else None,
        stream_number=grant.stream_number,
        stream_options=dict(grant.stream_options),
    )
