"""Who sent a request: the machine itself, someone else, or someone behind a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

__all__ = [
    "LOOPBACK_HOSTS",
    "Networks",
    "client_address",
    "host_name",
    "is_direct_loopback",
    "peer_of",
]

Headers = Sequence[tuple[str, str]]
Networks = Sequence[IPv4Network | IPv6Network]

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
FORWARDING_PREFIXES = ("x-forwarded-", "cf-", "fly-")
FORWARDING_HEADERS = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-original-host"}
)
"""What proxies and tunnels add; one of these means that the request does not come straight."""


def host_name(host_header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host_header.startswith("["):
        return host_header[1:].partition("]")[0]
    return host_header.partition(":")[0].lower()


def is_direct_loopback(peer: str, headers: Headers) -> bool:
    """Whether a request comes from this machine, through no proxy or tunnel, and from no web page.

    A page of another site can make a browser on this machine send requests here; it names itself
    in ``Origin``.

    Args:
        peer: Address of the other end of the connection.
        headers: Names in lower case.
    """
    if peer not in LOOPBACK_HOSTS:
        return False
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) != 1 or host_name(hosts[0]) not in LOOPBACK_HOSTS:
        return False
    for name, value in headers:
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES):
            return False
        if name == "origin" and not _is_loopback_origin(value):
            return False
    return True


def _is_loopback_origin(origin: str) -> bool:
    try:
        return (urlsplit(origin).hostname or "") in LOOPBACK_HOSTS
    except ValueError:
        return False


def client_address(peer: str, headers: Headers, trusted: Networks) -> str:
    """The address that a request comes from, for the log.

    ``X-Forwarded-For`` counts only as far as ``trusted`` proxies wrote it: read from the right, the
    first address that is not a trusted proxy's is the client's.
    """
    named = ",".join(value for name, value in headers if name == "x-forwarded-for")
    address = peer
    for hop in reversed([part.strip() for part in named.split(",")]):
        if not _is_in(address, trusted) or not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Networks) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def peer_of(request: HTTPConnection) -> tuple[str, Headers]:
    """Address of the other end and headers of a request."""
    return (request.client.host if request.client else ""), request.headers.items()
