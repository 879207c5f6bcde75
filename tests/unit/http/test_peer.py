from __future__ import annotations

from ipaddress import ip_network

import pytest

from trunkline.http.peer import client_address, host_name, is_direct_loopback

LOCAL = [("host", "localhost:8000")]
PROXIES = (ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("voice.example.com", "voice.example.com"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_a_request_straight_from_this_machine(host: str) -> None:
    assert is_direct_loopback("127.0.0.1", [("host", host), ("accept", "*/*")])
    assert is_direct_loopback("::1", [("host", host), ("origin", "http://localhost:3000")])


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.0.2.1", LOCAL),
        ("", LOCAL),
        ("127.0.0.1", []),
        ("127.0.0.1", [("host", "abc.ngrok.app")]),
        ("127.0.0.1", [*LOCAL, ("host", "abc.ngrok.app")]),
        ("127.0.0.1", [*LOCAL, ("x-forwarded-for", "")]),
        ("127.0.0.1", [*LOCAL, ("x-forwarded-anything", "1")]),
        ("127.0.0.1", [*LOCAL, ("forwarded", "for=192.0.2.1")]),
        ("127.0.0.1", [*LOCAL, ("cf-connecting-ip", "192.0.2.1")]),
        ("127.0.0.1", [*LOCAL, ("via", "1.1 proxy")]),
        ("127.0.0.1", [*LOCAL, ("origin", "https://evil.example")]),
        ("127.0.0.1", [*LOCAL, ("origin", "null")]),
        ("127.0.0.1", [*LOCAL, ("origin", "http://[")]),
    ],
)
def test_what_came_another_way(peer: str, headers: list[tuple[str, str]]) -> None:
    assert not is_direct_loopback(peer, headers)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # not a proxy of ours: it may say anything
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "198.51.100.7, unknown", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("", "198.51.100.7", ""),
    ],
)
def test_forwarded_addresses_count_only_from_trusted_proxies(
    peer: str, forwarded: str | None, client: str
) -> None:
    headers = [] if forwarded is None else [("x-forwarded-for", forwarded)]
    assert client_address(peer, headers, PROXIES) == client
    assert client_address(peer, headers, ()) == peer
