from __future__ import annotations

from trunkline.calls.urls import PublicUrls

URLS = PublicUrls("https://voice.example.com/trunk", is_configured=True)


def test_path_and_query_stay_byte_for_byte() -> None:
    assert URLS.http("/a%2Fb", "x=%20&y") == "https://voice.example.com/trunk/a%2Fb?x=%20&y"


def test_every_address_lies_below_the_base() -> None:
    assert URLS.inbound("acme", "desk") == URLS.base + "/telephony/acme/inbound/desk"
    assert URLS.answer("acme", "id") == URLS.base + "/telephony/acme/answer/id"
    assert URLS.events("acme", "id") == URLS.base + "/telephony/acme/events/id"
    assert URLS.continuation("acme", "id") == URLS.base + "/telephony/acme/continue/id"


def test_media_is_secure_unless_the_base_is_a_loopback_s() -> None:
    assert URLS.stream("acme", "desk", "t") == "wss://voice.example.com/trunk/ws/acme/desk/t"
    local = PublicUrls("http://127.0.0.1:8000", is_configured=False)
    assert local.stream("acme", "desk") == "ws://127.0.0.1:8000/ws/acme/desk"
