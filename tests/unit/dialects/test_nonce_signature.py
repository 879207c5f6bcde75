from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from pydantic import SecretStr

from trunkline.dialects.nonce_signature import base_url, fits_any, split_url, token_bytes
from trunkline.errors import SignatureError


def sign(key: bytes, text: str) -> str:
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.test/b?c=d#e", "https://a.test/b"),
        ("https://a.test:8443/b", "https://a.test:8443/b"),
        ("https://a.test", "https://a.test"),
        ("https://a.test?x=1", "https://a.test"),
        ("https://a.test/%7Eb%20c", "https://a.test/%7Eb%20c"),
    ],
)
def test_base_url(url: str, expected: str) -> None:
    assert base_url(split_url(url)) == expected


def test_another_scheme() -> None:
    assert base_url(split_url("wss://a.test/b"), scheme="http") == "http://a.test/b"


@pytest.mark.parametrize("url", ["", "hook", "/hook", "https:/x", "https://[::1/hook", "://x"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(SignatureError):
        split_url(url)


def test_tokens_that_are_set() -> None:
    assert token_bytes(SecretStr("a"), None, SecretStr("ü")) == [b"a", "ü".encode()]


def test_one_of_several() -> None:
    good = sign(b"k", "text")
    assert fits_any([b"other", b"k"], ["no", "text"], good)
    assert fits_any([b"k"], ["text"], f"AAAA, {good} ,BBBB")
    assert not fits_any([b"other"], ["text"], good)
    assert not fits_any([b"k"], ["texts"], good)
    assert not fits_any([], ["text"], good)
    assert not fits_any([b"k"], [], good)


@pytest.mark.parametrize("signature", ["", ",", "x", "ü", "\udcff", "=" * 9999])
def test_nonsense_fits_nothing(signature: str) -> None:
    assert not fits_any([b"k"], ["text", "\udcff"], signature)
