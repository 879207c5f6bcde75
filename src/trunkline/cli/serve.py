"""``trunkline serve``: the server, and what to tell a person about it."""

from __future__ import annotations

import ipaddress
import os
from contextlib import ExitStack
from typing import Annotated

import typer
from rich.console import Console

from trunkline import carriers
from trunkline.calls.urls import PublicUrls
from trunkline.cli.configuration import account_from_environment, load_settings
from trunkline.cli.tunnel import TunnelName, open_tunnel
from trunkline.errors import ConfigError
from trunkline.settings import Settings

__all__ = ["banner", "check_no_auth", "is_loopback", "serve"]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    no_auth: Annotated[
        bool,
        typer.Option(
            "--no-auth", help="Open the API to this machine without a key. Loopback only."
        ),
    ] = False,
    tunnel: Annotated[
        TunnelName | None, typer.Option(help="Start this tunnel and use its public address.")
    ] = None,
) -> None:
    """Run the server until it is told to stop; then finish the calls that are up."""
    # The server's processes read the environment themselves, so that is where options go.
    if host is not None:
        os.environ["TRUNKLINE_HOST"] = host
    if port is not None:
        os.environ["TRUNKLINE_PORT"] = str(port)
    settings = load_settings()
    if no_auth:
        check_no_auth(settings)
    with ExitStack() as stack:
        if tunnel is not None:
            if settings.port == 0:
                raise ConfigError("a tunnel needs a port that is known: --port", field="port")
            os.environ["PUBLIC_BASE_URL"] = stack.enter_context(open_tunnel(tunnel, settings.port))
            settings = load_settings()
        console = Console(stderr=True, highlight=False)
        for line in banner(settings, no_auth=no_auth):
            console.print(line, soft_wrap=True)
        # Here, because it takes a second to import, and `--help` should not.
        from trunkline.dispatch import supervisor

        status = supervisor.run(settings, no_auth=no_auth)
    raise typer.Exit(status)


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_no_auth(settings: Settings) -> None:
    """Refuse to open the API to a network.

    Raises:
        ConfigError: the server would listen on more than loopback.
    """
    if not is_loopback(settings.host):
        raise ConfigError(
            f"--no-auth is for 127.0.0.1 only, and the server would listen on {settings.host}",
            field="no_auth",
        )


def banner(settings: Settings, *, no_auth: bool) -> list[str]:
    """Return what a person needs to know, a line each: addresses, what to paste where, warnings."""
    local = f"http://{settings.host}:{settings.port}"
    lines = [f"[bold]Trunkline[/bold]  {local}  (API description: {local}/docs)"]
    urls = PublicUrls(
        settings.public_base_url or local, is_configured=settings.public_base_url is not None
    )
    if settings.public_base_url is None:
        lines.append(
            "[yellow]PUBLIC_BASE_URL is not set:[/yellow] carriers cannot reach this server. "
            "See docs/public-url.md, or use --tunnel."
        )
    for name in carriers.NAMES:
        lines += _carrier_lines(name, urls)
    if no_auth:
        lines.append(
            "[bold red]--no-auth:[/bold red] whoever can run programs here can use the API. "
            "Requests through a tunnel or proxy still need a key."
        )
    return lines


def _carrier_lines(name: str, urls: PublicUrls) -> list[str]:
    carrier = carriers.get(name)
    try:
        missing = account_from_environment(carrier).missing()
    except ConfigError as error:
        return [f"[yellow]{carrier.display_name}:[/yellow] {error}"]
    address = urls.inbound(name, "AGENT")
    line = f"{carrier.display_name}: the number's voice URL is {address} (POST)"
    if missing:
        line += f"  [dim](set {', '.join(missing)}, here or by PUT /api/settings/telephony)[/dim]"
    return [line]
