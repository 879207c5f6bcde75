from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo.utils import validate_v3_signature
from starlette.requests import Request

from trunkline.simulator.plivo.signing import is_authentic, sign, sign_upgrade

URL = "https://voice.example.test/hook"
NAMES = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), min_size=1, max_size=8)


def official(method: str, url: str, headers: Any, params: dict[str, Any]) -> bool:
    return bool(
        validate_v3_signature(
            method,
            url,
            headers["X-Plivo-Signature-V3-Nonce"],
            "token",
            headers["X-Plivo-Signature-V3"],
            params,
        )
    )


@given(
    fields=st.lists(st.tuples(NAMES, st.text(max_size=9)), max_size=4),
    query=st.sampled_from(["", "?b=2&a=1", "?x=&a=%20", "?a=2&a=1#rc=1"]),
)
def test_the_official_sdk_takes_what_is_signed(fields: list[tuple[str, str]], query: str) -> None:
    params: dict[str, list[str]] = {}
    for name, value in fields:
        params.setdefault(name, []).append(value)
    url = URL + query
    assert official("POST", url, sign("token", "POST", url, fields), params)
    assert official("GET", url, sign("token", "GET", url, []), {})
    assert not official("POST", url, sign("other", "POST", url, fields), dict(params))


def test_a_nonce_is_new_each_time() -> None:
    first, second = sign("token", "GET", URL, []), sign("token", "GET", URL, [])
    assert first["X-Plivo-Signature-V3-Nonce"] != second["X-Plivo-Signature-V3-Nonce"]
    assert set(sign_upgrade("token", "wss://x/")) == set(first)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic " + base64.b64encode(b"MA1:t").decode(), True),
        ("basic " + base64.b64encode(b"MA1:t").decode(), True),
        ("Basic " + base64.b64encode(b"MA1:x").decode(), False),
        ("Basic " + base64.b64encode(b"MA2:t").decode(), False),
        ("Basic \xff", False),
        ("Bearer t", False),
        ("", False),
    ],
)
def test_rest_wants_basic(header: str, expected: bool) -> None:
    scope = {"type": "http", "headers": [(b"authorization", header.encode("latin-1"))]}
    assert is_authentic(Request(scope), {"MA1": "t"}) is expected
