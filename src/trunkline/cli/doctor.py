"""``trunkline doctor``: why the phone does not ring, a row for each thing that must be right.

Facts are fetched first and may each be missing; the checks are plain functions of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar, cast
from urllib.parse import urlsplit

import httpx
import typer

from trunkline.bots.pipeline import missing_keys, validate_pipeline
from trunkline.calls.urls import PublicUrls
from trunkline.cli.configuration import account_from_environment, load_settings, only_carrier
from trunkline.cli.output import JsonOption, show_json, show_table
from trunkline.cli.server import Json, Server, as_list, as_object
from trunkline.errors import ConfigError, TrunklineError
from trunkline.settings import Settings, carrier_environment
from trunkline.telephony.carrier import Carrier, CarrierNumber

__all__ = [
    "CHECKS",
    "Facts",
    "Row",
    "check_agent",
    "check_base_url",
    "check_credentials",
    "check_keys",
    "check_number",
    "check_public_address",
    "check_server",
    "doctor",
]

_PROBE_TIMEOUT_S = 5.0

# Where tunnel programs tell their address: ngrok's agent API, cloudflared's metrics server
# (at its first default port).
_NGROK_API = "http://127.0.0.1:4040/api/tunnels"
_CLOUDFLARED_API = "http://127.0.0.1:20241/quicktunnel"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What could be found out. ``problems`` has the reason, by fact, where something could not."""

    server_url: str
    provider: str
    agent_name: str
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
    is_ready: bool = False
    voice_url: str | None = None
    """What the number's voice URL must be, as the server says."""
    public_base_url: str | None = None
    """The server's own, or what the environment says while the server is down."""
    is_public_reachable: bool = False
    """The server answers at its public address."""
    tunnel_url: str | None = None
    """Address of a tunnel program that runs on this machine."""
    missing_credentials: Sequence[str] = ()
    number: CarrierNumber | None = None
    phone_number: str | None = None
    agent: Mapping[str, Json] | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report. ``advice`` is empty when all is well."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def check_server(facts: Facts) -> Row:
    """Say whether the server is up and takes calls."""
    if "server" in facts.problems:
        advice = "start it with `trunkline serve`, or set TRUNKLINE_URL"
        return Row(name="server", ok=False, found=facts.problems["server"], advice=advice)
    if not facts.is_ready:
        advice = "see its log; it may be starting or draining"
        return Row(name="server", ok=False, found="up, but takes no calls", advice=advice)
    return Row(name="server", ok=True, found=f"up at {facts.server_url}")


def check_base_url(facts: Facts) -> Row:
    """Say whether ``PUBLIC_BASE_URL`` is an https address, and the tunnel's if there is one."""
    name, base = "PUBLIC_BASE_URL", facts.public_base_url
    if base is None:
        advice = "set it to your public https address (docs/public-url.md), or serve with --tunnel"
        return Row(name=name, ok=False, found="not set", advice=advice)
    if urlsplit(base).scheme != "https":
        return Row(
            name=name, ok=False, found=base, advice="it must be https: carriers call nothing else"
        )
    if facts.tunnel_url is not None and _host(facts.tunnel_url) != _host(base):
        advice = f"set it to {facts.tunnel_url} and start the server again, or serve with --tunnel"
        return Row(
            name=name,
            ok=False,
            found=f"{base}, but the tunnel is {facts.tunnel_url}",
            advice=advice,
        )
    return Row(name=name, ok=True, found=base)


def check_public_address(facts: Facts) -> Row:
    """Say whether the tunnel, or whatever stands before the server, is up and leads to it."""
    name = "public address"
    if facts.is_public_reachable:
        return Row(name=name, ok=True, found="leads to the server")
    if facts.public_base_url is None:
        return Row(name=name, ok=False, found="unknown", advice="set PUBLIC_BASE_URL first")
    reason = facts.problems.get("public", "no answer")
    advice = "start the tunnel or proxy, and let it forward to the server's port"
    return Row(name=name, ok=False, found=f"{facts.public_base_url}: {reason}", advice=advice)


def check_credentials(facts: Facts) -> Row:
    """Say whether the carrier's credentials are there, and accepted."""
    name = f"{facts.provider} credentials"
    if facts.missing_credentials:
        variables = ", ".join(facts.missing_credentials)
        advice = f"set {variables}, or store them: PUT /api/settings/telephony"
        return Row(name=name, ok=False, found="incomplete", advice=advice)
    if "credentials" in facts.problems:
        advice = "copy them again from the carrier's console"
        return Row(name=name, ok=False, found=facts.problems["credentials"], advice=advice)
    return Row(name=name, ok=True, found="accepted")


def check_number(facts: Facts) -> Row:
    """Say whether the number's voice URL, read from the carrier, is ours."""
    name = "number's voice URL"
    wanted = facts.voice_url or "(see the server's banner)"
    if "number" in facts.problems:
        return Row(
            name=name, ok=False, found=facts.problems["number"], advice="mend the row above first"
        )
    if facts.phone_number is None:
        advice = "name it with --number, or set the carrier's phone number variable"
        return Row(name=name, ok=False, found="no number is known", advice=advice)
    if facts.number is None:
        advice = "check the number, and that it belongs to this account"
        return Row(
            name=name, ok=False, found=f"the account has no {facts.phone_number}", advice=advice
        )
    found = facts.number.voice_url or "none"
    if facts.voice_url is None or (facts.number.voice_url or "").split("#")[0] != facts.voice_url:
        return Row(name=name, ok=False, found=found, advice=f"set it to {wanted} (POST)")
    return Row(name=name, ok=True, found=found)


def check_agent(facts: Facts) -> Row:
    """Say whether the agent exists and takes calls."""
    name = f"agent {facts.agent_name}"
    if "agent" in facts.problems:
        advice = "mend that, then ask again"
        return Row(name=name, ok=False, found=facts.problems["agent"], advice=advice)
    if facts.agent is None:
        advice = f"create it: trunkline agents create {facts.agent_name} …"
        return Row(name=name, ok=False, found="does not exist", advice=advice)
    if not facts.agent.get("enabled"):
        advice = f"trunkline agents enable {facts.agent_name}"
        return Row(name=name, ok=False, found="disabled", advice=advice)
    return Row(name=name, ok=True, found=f"{facts.agent.get('kind')}, enabled")


def check_keys(facts: Facts) -> Row:
    """Say whether the keys of the agent's services are set, in this environment."""
    name = "keys of its services"
    if facts.agent is None:
        return Row(name=name, ok=False, found="unknown", advice="mend the row above first")
    pipeline = facts.agent.get("pipeline")
    if not isinstance(pipeline, dict):
        return Row(name=name, ok=True, found="a module brings its own; it was loaded when saved")
    try:
        missing = missing_keys(validate_pipeline(pipeline), facts.environment)
    except ConfigError as error:
        return Row(name=name, ok=False, found=str(error), advice="change the agent")
    if missing:
        variables = ", ".join(sorted({each.variable for each in missing}))
        advice = f"set {variables} in the server's environment or .env"
        return Row(name=name, ok=False, found=f"not set here: {variables}", advice=advice)
    return Row(name=name, ok=True, found="set")


CHECKS: Sequence[Callable[[Facts], Row]] = (
    check_server,
    check_base_url,
    check_public_address,
    check_credentials,
    check_number,
    check_agent,
    check_keys,
)
"""In the order in which a person mends things."""


def doctor(
    agent: Annotated[str, typer.Option(help="The agent that shall answer.")],
    provider: Annotated[str | None, typer.Option(help="The carrier.")] = None,
    number: Annotated[
        str | None, typer.Option(help="The phone number; the carrier's default one else.")
    ] = None,
    as_json: Annotated[bool, JsonOption] = False,
) -> None:
    """Check everything between the phone and the bot. Exit status 1 when something is wrong."""
    settings = load_settings()
    carrier = only_carrier(provider, settings)
    facts = _Finder(settings, carrier, agent, number).find()
    rows = [check(facts) for check in CHECKS]
    ok = all(row.ok for row in rows)
    if as_json:
        show_json({"ok": ok, "checks": rows})
    else:
        table = [("ok" if row.ok else "no", row.name, row.found, row.advice) for row in rows]
        show_table(("", "what", "found", "what to do"), table)
    sys.exit(0 if ok else 1)


class _Finder:
    """Fetches the facts; whatever fails becomes a problem, so that all checks can run."""

    def __init__(
        self, settings: Settings, carrier: Carrier, agent_name: str, number: str | None
    ) -> None:
        self._settings = settings
        self._carrier = carrier
        self._agent_name = agent_name
        self._number = number
        self._problems: dict[str, str] = {}

    def find(self) -> Facts:
        """Ask the server, the carrier, the tunnel and the environment."""
        with Server.of(self._settings) as server:
            health = self._try("server", lambda: server.get("/healthz"))
            is_ready = (
                health is not None and self._try("ready", lambda: server.get("/readyz")) is not None
            )
            provider = self._provider(server) if health is not None else {}
            agent = self._agent(server) if health is not None else None
        if health is None:
            self._problems["agent"] = "unknown: the server is not up"
        voice_url = self._voice_url(provider)
        base = self._settings.public_base_url
        if voice_url is not None:
            base = voice_url.partition("/telephony/")[0]
            # What a server answers that has no public address yet.
            if (
                _host(base) in ("127.0.0.1", "localhost", "::1")
                and self._settings.public_base_url is None
            ):
                base = None
        missing, phone_number, found = asyncio.run(self._ask_carrier())
        return Facts(
            server_url=server.url,
            provider=self._carrier.name,
            agent_name=self._agent_name,
            is_ready=is_ready,
            voice_url=voice_url,
            public_base_url=base,
            is_public_reachable=base is not None and self._reaches(base),
            tunnel_url=_tunnel_url(),
            missing_credentials=missing,
            phone_number=phone_number,
            number=found,
            agent=agent,
            environment=carrier_environment(""),
            problems=self._problems,
        )

    def _try(self, fact: str, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except TrunklineError as error:
            self._problems[fact] = str(error)
            return None

    def _provider(self, server: Server) -> dict[str, Json]:
        found = as_list(self._try("provider", lambda: server.get("/api/providers")))
        rows = [as_object(row) for row in found]
        return next((row for row in rows if row.get("name") == self._carrier.name), as_object(None))

    def _agent(self, server: Server) -> Mapping[str, Json] | None:
        agents = self._try("agent", lambda: server.get("/api/agents"))
        rows = [as_object(row) for row in as_list(agents)]
        return next((row for row in rows if row.get("name") == self._agent_name), None)

    def _voice_url(self, provider: Mapping[str, Json]) -> str | None:
        """Return the agent's voice URL as the server says, else as the environment does."""
        pattern = as_object(provider.get("console")).get("voice_url")
        if isinstance(pattern, str):
            return pattern.removesuffix("AGENT") + self._agent_name
        if self._settings.public_base_url is None:
            return None
        urls = PublicUrls(self._settings.public_base_url, is_configured=True)
        return urls.inbound(self._carrier.name, self._agent_name)

    def _reaches(self, base: str) -> bool:
        try:
            response = httpx.get(
                f"{base}/healthz", timeout=_PROBE_TIMEOUT_S, follow_redirects=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._problems["public"] = type(error).__name__
            return False
        # A tunnel answers for a server that is down, with its own page.
        if response.status_code != 200 or "application/json" not in response.headers.get(
            "content-type", ""
        ):
            self._problems["public"] = f"HTTP {response.status_code}, and not from Trunkline"
            return False
        return True

    async def _ask_carrier(self) -> tuple[Sequence[str], str | None, CarrierNumber | None]:
        """Return missing variables, the number's name, and the number as the carrier has it."""
        try:
            account = account_from_environment(self._carrier)
        except ConfigError as error:
            self._problems |= {"credentials": str(error), "number": "credentials cannot be used"}
            return (), self._number, None
        number = self._number or account.phone_number
        missing = tuple(account.missing())
        if missing:
            self._problems["number"] = "unknown without credentials"
            return missing, number, None
        async with httpx.AsyncClient() as http:
            client = self._carrier.require_client(account, http)
            try:
                await client.check_credentials()
            except TrunklineError as error:
                self._problems |= {
                    "credentials": str(error),
                    "number": "unknown: the carrier did not answer",
                }
                return (), number, None
            try:
                return (), number, None if number is None else await client.fetch_number(number)
            except TrunklineError as error:
                self._problems["number"] = str(error)
                return (), number, None


def _tunnel_url() -> str | None:
    """Return the address of the tunnel program that runs on this machine, if one does."""
    ngrok = as_object(_ask_local(_NGROK_API))
    for tunnel in as_list(ngrok.get("tunnels")):
        url = as_object(tunnel).get("public_url")
        if isinstance(url, str) and url.startswith("https://"):
            return url
    hostname = as_object(_ask_local(_CLOUDFLARED_API)).get("hostname")
    return f"https://{hostname}" if isinstance(hostname, str) and hostname else None


def _ask_local(url: str) -> Json:
    try:
        response = httpx.get(url, timeout=1.0, trust_env=False)
        return cast("Json", response.json()) if response.is_success else None
    except (httpx.HTTPError, ValueError):
        return None


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
