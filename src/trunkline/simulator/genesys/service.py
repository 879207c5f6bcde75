"""Genesys on this machine: one organisation whose flow hands calls to a bot."""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit

from pydantic import SecretStr

from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.errors import ConfigError
from trunkline.simulator.connection import Dialing
from trunkline.simulator.contract import CallReport, HungUpBy, Ring, Setup, StreamReport, Violation
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.genesys.connection import GenesysConnection
from trunkline.simulator.genesys.signing import Session, sign_upgrade
from trunkline.simulator.genesys.stream import FRAME_MS, MEDIA_FORMAT, NIL_ID, GenesysMedia
from trunkline.simulator.line import Line
from trunkline.simulator.pacing import ticks

__all__ = ["GenesysService", "GenesysSimulator", "media_url"]

_COMPLETED, _FAILED = "completed", "failed"
_PROBE_MS = 600


def media_url(webhook_url: str) -> str:
    """Return where the bot's sockets are, from where another carrier's webhooks would go.

    A URL of a socket is returned as it is.
    """
    parts = urlsplit(webhook_url)
    if parts.scheme in ("ws", "wss"):
        return webhook_url
    scheme = "wss" if parts.scheme == "https" else "ws"
    agent = parts.path.rstrip("/").rpartition("/")[2]
    return parts._replace(scheme=scheme, path=f"/ws/genesys/{agent}").geturl()


class GenesysSimulator:
    """See ``contract.Simulator``."""

    name = "genesys"

    def open(self, setup: Setup) -> AbstractAsyncContextManager[GenesysService]:
        """Run Genesys until the context is left; it has no REST API that concerns us.

        Raises:
            ConfigError: the account given lacks its secrets.
        """
        return _open(setup)


class GenesysService:
    """A running Genesys. What is not in ``contract.SimulatedCarrier`` is for setting the scene."""

    def __init__(
        self, *, account: GenesysAccount, via: str | None, tls: ssl.SSLContext | None
    ) -> None:
        self.organization_id = account.organization_id or str(uuid.uuid4())
        self.variables: dict[str, str] = {}
        """Inputs of the flow's action."""
        self._account = account
        self._via = via
        self._tls = tls

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that make a Trunkline server take this for Genesys."""
        names = self._account.environment()
        found: dict[str, str] = {}
        for field in GenesysAccount.model_fields:
            value: object = getattr(self._account, field)
            if value is not None:
                found[names[field]] = (
                    value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                )
        return found

    async def ring(self, ring: Ring) -> CallReport:
        """Let the flow hand a call to the bot; see ``contract.SimulatedCarrier``."""
        line = Line(media_format=MEDIA_FORMAT, frame_ms=FRAME_MS, human=ring.caller)
        conversation_id = str(uuid.uuid4())
        media = self._new_media(conversation_id, ring.from_number, ring.to_number)
        started_s = asyncio.get_running_loop().time()
        stream, by = await self._run(ring.markup or ring.webhook_url, media, line, ring.faults)
        elapsed_s = asyncio.get_running_loop().time() - started_s
        opened = stream.refused_status is None
        return CallReport(
            carrier_call_id=conversation_id,
            status=_COMPLETED if opened else _FAILED,
            hung_up_by=by,
            duration_ms=round(elapsed_s * 1000),
            counts=line.counts(),
            streams=(stream,),
            webhooks=(),
            violations=tuple(media.violations),
            turns=tuple(ring.caller.turns),
            missed=tuple(ring.caller.missed),
            recording=line.recording(),
        )

    async def probe(self, url: str) -> StreamReport:
        """Test a connection, as the activation of an integration does."""
        media = self._new_media(NIL_ID, "", "")
        line = Line(media_format=MEDIA_FORMAT, frame_ms=FRAME_MS)
        stream, _ = await self._run(url, media, line, Faults(), stop_after_ms=_PROBE_MS)
        return stream

    def _new_media(self, conversation_id: str, from_number: str, to_number: str) -> GenesysMedia:
        return GenesysMedia(
            organization_id=self.organization_id,
            session_id=str(uuid.uuid4()),
            conversation_id=conversation_id,
            from_number=from_number,
            to_number=to_number,
            variables=self.variables,
        )

    async def _run(
        self,
        url: str,
        media: GenesysMedia,
        line: Line,
        faults: Faults,
        *,
        stop_after_ms: int | None = None,
    ) -> tuple[StreamReport, HungUpBy]:
        url = media_url(url.strip())
        connection = GenesysConnection(
            media=media,
            line=line,
            dialing=self._dialing(url, media.stream_id, faults),
            variables=self.variables,
            faults=faults,
        )
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(_keep_time(line, connection, over, stop_after_ms))
            stream = await connection.run(over)
            clock.cancel()
        if stream.refused_status is None and stream.ended_by == "server":
            if media.disconnect_reason:
                return stream, HungUpBy.MARKUP
            detail = "the server closed the socket, which is Genesys' to do"
            media.violations.append(Violation(code="failure_path", detail=detail))
        return stream, HungUpBy.CALLER if line.has_hung_up else HungUpBy.CARRIER

    def _dialing(self, url: str, session_id: str, faults: Faults) -> Dialing:
        secret = self._account.client_secret
        api_key = self._account.api_key
        text = None if secret is None else secret.get_secret_value()
        if faults.has(Fault.BAD_UPGRADE_SIGNATURE):
            text = base64.b64encode(b"another secret").decode()
        session = Session(
            api_key="" if api_key is None else api_key.get_secret_value(),
            client_secret=text,
            organization_id=self.organization_id,
            session_id=session_id,
            correlation_id=str(uuid.uuid4()),
        )
        nonce = secrets.token_urlsafe(24)
        headers = sign_upgrade(url, session, nonce=nonce, now_s=int(time.time()))
        headers = {**headers, "User-Agent": "GenesysCloud-AudioHook-Client"}
        return Dialing(url=url, headers=headers, via=self._via, tls=self._tls)


async def _keep_time(
    line: Line, connection: GenesysConnection, over: asyncio.Event, stop_after_ms: int | None
) -> None:
    """Let time pass: the caller hangs up, or a test has lasted long enough."""
    async for _ in ticks(FRAME_MS):
        tick = line.tick()
        if stop_after_ms is None:  # a test sends no audio
            connection.tick(tick)
        if line.has_hung_up or (stop_after_ms is not None and line.now_ms >= stop_after_ms):
            over.set()
            return


@asynccontextmanager
async def _open(setup: Setup) -> AsyncGenerator[GenesysService]:
    yield GenesysService(account=_complete(setup.account), via=setup.via, tls=setup.tls)


def _complete(account: object) -> GenesysAccount:
    """Return the account given, or one that is made up."""
    if isinstance(account, GenesysAccount):
        if account.missing():
            raise ConfigError(f"set {' and '.join(account.missing())}", field=account.missing()[0])
        return account
    return GenesysAccount(
        api_key=SecretStr(secrets.token_hex(16)),
        client_secret=SecretStr(base64.b64encode(secrets.token_bytes(32)).decode()),
        organization_id=str(uuid.uuid4()),
    )
