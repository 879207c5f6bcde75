"""The front without processes: real store, tokens and carrier; fakes for the two ports.

Twilio's REST API is stood in by ``TwilioRest`` behind ``httpx.MockTransport``; webhooks are signed
by Twilio's own SDK.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import httpx
from fastapi import FastAPI
from twilio.request_validator import RequestValidator

from tests.support.waiting import eventually
from trunkline.calls.accounts import Accounts
from trunkline.calls.background import Background
from trunkline.calls.hub import EventHub
from trunkline.calls.ports import Context
from trunkline.calls.secrets import CredentialCipher, derive_key
from trunkline.calls.tokens import StreamTokens
from trunkline.calls.urls import PublicUrls
from trunkline.http.application import create_app
from trunkline.store import (
    AgentKind,
    AgentRecord,
    ApiKeyRecord,
    CallRecord,
    EventRecord,
    InMemoryStore,
    Role,
    Store,
)

BASE_URL = "https://voice.example.com"
ACCOUNT_SID = "AC00000000000000000000000000000001"
CALL_SID = "CA00000000000000000000000000000001"
AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
OUR_NUMBER = "+15005550006"
CALLER = "+14155550100"
SECRET = b"a secret of forty characters for tests.."
CREDENTIALS = {
    "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
    "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
    "TWILIO_PHONE_NUMBER": OUR_NUMBER,
}
KEYS = {role: f"tk_{role.value}_key_of_the_tests" for role in Role}


class Clock:
    """A time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeDispatcher:
    """Has a worker for everyone, unless told otherwise."""

    def __init__(self) -> None:
        self.reserved: list[str] = []
        self.released: list[str] = []
        self.forgotten: list[str] = []
        self.prepared: list[tuple[str, bool]] = []
        """Agent, and whether it was only checked."""
        self.warnings: list[str] = []
        self.failure: Exception | None = None
        """Raised by ``reserve`` and ``prepare``."""
        self.ready = asyncio.Event()
        """Cleared: reservations wait, as for a cold worker."""
        self.ready.set()
        self.while_reserving: Callable[[str], Awaitable[None]] | None = None
        """What happens elsewhere while the worker is made ready; gets the call's id."""

    async def reserve(
        self, call_id: str, agent: AgentRecord, *, expires_s: float, timeout_s: float
    ) -> None:
        await self.ready.wait()
        if self.while_reserving is not None:
            await self.while_reserving(call_id)
        if self.failure is not None:
            raise self.failure
        self.reserved.append(call_id)

    async def release(self, call_id: str) -> None:
        self.released.append(call_id)

    async def forget(self, name: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.forgotten.append(name)

    async def prepare(self, agent: AgentRecord, *, check_only: bool, timeout_s: float) -> list[str]:
        self.prepared.append((agent.name, check_only))
        if self.failure is not None:
            raise self.failure
        return list(self.warnings)


class FakeGateways:
    """Gateways that have the calls in ``live``."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.connected = True
        self.ended: list[tuple[str, str, str]] = []
        self.dropped: list[str] = []

    def live_calls(self) -> set[str]:
        return self.live

    def all_connected(self) -> bool:
        return self.connected

    async def end_call(self, call_id: str, *, by: str, reason: str) -> bool:
        self.ended.append((call_id, by, reason))
        return call_id in self.live

    async def drop_stream(self, call_id: str) -> bool:
        self.dropped.append(call_id)
        return call_id in self.live


class TwilioRest:
    """Twilio's calls resource: takes dials, knows its calls, ends them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        self.calls: dict[str, dict[str, str]] = {}
        self.faults: list[httpx.Response | Exception] = []
        """What the next requests get instead of an answer."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode(), keep_blank_values=True)
        self.requests.append((request.method, request.url.path, form))
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        name = request.url.path.rsplit("/", 1)[1].removesuffix(".json")
        if name == "Calls":
            return self._dial(form) if request.method == "POST" else self._list(request)
        if name not in self.calls:
            return httpx.Response(404, json={"code": 20404, "message": "not found"})
        if request.method == "POST":
            self.calls[name]["status"] = form["Status"][0]
        return httpx.Response(200, json=self.calls[name])

    def add(self, sid: str, status: str, *, direction: str = "inbound", **fields: str) -> None:
        """A call that Twilio knows."""
        numbers = {"from": CALLER, "to": OUR_NUMBER}
        self.calls[sid] = {
            "sid": sid,
            "status": status,
            "direction": direction,
            **numbers,
            **fields,
        }

    def _dial(self, form: Mapping[str, list[str]]) -> httpx.Response:
        sid = f"CA{len(self.calls) + 1:032x}"
        fields = {"from": form["From"][0], "to": form["To"][0]}
        self.add(sid, "queued", direction="outbound-api", **fields)
        return httpx.Response(201, json=self.calls[sid])

    def _list(self, request: httpx.Request) -> httpx.Response:
        wanted = request.url.params["Status"]
        return httpx.Response(
            200, json={"calls": [call for call in self.calls.values() if call["status"] == wanted]}
        )

    @property
    def dials(self) -> list[dict[str, list[str]]]:
        """Forms of the dials that were sent."""
        return [form for method, path, form in self.requests if method == "POST" and "To" in form]

    @property
    def hangups(self) -> list[str]:
        """SIDs of the calls that were ended by us."""
        return [
            path.rsplit("/", 1)[1].removesuffix(".json")
            for method, path, form in self.requests
            if method == "POST" and form.get("Status") == ["completed"]
        ]


@dataclass(slots=True)
class FrontWorld:
    """A front's use cases and everything around them."""

    context: Context
    store: Store
    dispatcher: FakeDispatcher
    gateways: FakeGateways
    twilio: TwilioRest
    clock: Clock
    environment: dict[str, str]
    draining: list[bool] = field(default_factory=list)
    """Not empty: the front drains."""

    async def agent(self, name: str = "front-desk", **changes: object) -> AgentRecord:
        """Store an agent, past all checks."""
        values = {"kind": AgentKind.MODULE, "module": "bot.py", **changes}
        return await self.store.create_agent(AgentRecord(name=name, **values))  # type: ignore[arg-type]

    async def call(self, call_id: str) -> CallRecord:
        """The record, which must be there."""
        found = await self.store.fetch_call(call_id)
        assert found is not None
        return found

    async def events(self, call_id: str, *kinds: str) -> list[EventRecord]:
        """The call's events, of some kinds or of all."""
        return list(await self.store.fetch_events(call_id, kinds=kinds or None))

    async def slots(self) -> int:
        """Slots in use with the carrier."""
        return (await self.store.count_slots()).get("carrier:twilio", 0)

    async def settled(self) -> None:
        """Wait for what goes on in the background."""
        await eventually(lambda: not self.context.background.is_busy, what="background work")


def make_context(
    *,
    recordings_dir: Path,
    background: Background,
    http: httpx.AsyncClient,
    store: Store | None = None,
    environment: Mapping[str, str] = CREDENTIALS,
    clock: Clock | None = None,
    max_calls: int = 200,
    is_configured: bool = True,
) -> FrontWorld:
    """Everything that use cases work with, and the fakes behind it."""
    kept: Store = store or InMemoryStore()
    dispatcher, gateways, time = FakeDispatcher(), FakeGateways(), clock or Clock()
    variables, draining = dict(environment), list[bool]()
    context = Context(
        store=kept,
        accounts=Accounts(
            store=kept,
            cipher=CredentialCipher(SECRET),
            environment=lambda prefix: {
                name: value for name, value in variables.items() if name.startswith(prefix)
            },
            default_provider=None,
        ),
        http=http,
        dispatcher=dispatcher,
        gateways=gateways,
        tokens=StreamTokens(derive_key(SECRET, "stream tokens")),
        urls=PublicUrls(BASE_URL, is_configured=is_configured),
        hub=EventHub(),
        background=background,
        recordings_dir=recordings_dir,
        max_calls=max_calls,
        is_draining=lambda: bool(draining),
        now=time,
    )
    return FrontWorld(
        context=context,
        store=kept,
        dispatcher=dispatcher,
        gateways=gateways,
        twilio=TwilioRest(),
        clock=time,
        environment=variables,
        draining=draining,
    )


@asynccontextmanager
async def open_world(
    recordings_dir: Path, *, store: Store | None = None, is_configured: bool = True
) -> AsyncIterator[FrontWorld]:
    """A world whose REST requests go to its ``TwilioRest``; background work ends with it."""
    twilio = TwilioRest()
    transport = httpx.MockTransport(twilio)
    async with httpx.AsyncClient(transport=transport) as http, Background() as background:
        world = make_context(
            recordings_dir=recordings_dir,
            background=background,
            http=http,
            store=store,
            is_configured=is_configured,
        )
        world.twilio = twilio
        yield world


async def create_keys(store: Store) -> None:
    """One API key for each role; ``KEYS`` has them."""
    for role, key in KEYS.items():
        digest = hashlib.sha256(key.encode()).hexdigest()
        await store.create_api_key(
            ApiKeyRecord(
                id=role.value, name=role.value, role=role, digest=digest,
                created_at=datetime(2026, 3, 1, tzinfo=UTC),
            )
        )  # fmt: skip


def client_of(
    app: FastAPI, *, role: Role | None = None, base_url: str = BASE_URL, peer: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """A client of the application, without sockets."""
    headers = {} if role is None else {"Authorization": f"Bearer {KEYS[role]}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 40000))
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers)


def app_of(world: FrontWorld, *, no_auth: bool = False) -> FastAPI:
    """The application over a world."""
    return create_app(world.context, no_auth=no_auth)


def voice_fields(**changes: str) -> dict[str, str]:
    """The form of an incoming call."""
    return {
        "CallSid": CALL_SID,
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": CALLER,
        "To": OUR_NUMBER,
        **changes,
    }


def signature(url: str, fields: Mapping[str, str] | None = None, *, token: str = AUTH_TOKEN) -> str:
    """``X-Twilio-Signature``, by Twilio's own SDK."""
    return str(RequestValidator(token).compute_signature(url, dict(fields or {})))


async def post_signed(
    client: httpx.AsyncClient, path: str, fields: Mapping[str, str]
) -> httpx.Response:
    """Send a webhook as Twilio does."""
    headers = {"X-Twilio-Signature": signature(BASE_URL + path, fields)}
    return await client.post(path, data=dict(fields), headers=headers)
