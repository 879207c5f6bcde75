from __future__ import annotations

import pytest

from trunkline.calls import nonces
from trunkline.calls.nonces import NonceCache
from trunkline.errors import SignatureError


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_repeated_delivery_is_let_in() -> None:
    cache = NonceCache()
    cache.check("plivo", "1", "POST /a")
    cache.check("plivo", "1", "POST /a")


def test_a_copied_proof_is_refused() -> None:
    cache = NonceCache()
    cache.check("plivo", "1", "POST /a")
    with pytest.raises(SignatureError):
        cache.check("plivo", "1", "POST /b")


def test_carriers_do_not_share_numbers() -> None:
    cache = NonceCache()
    cache.check("plivo", "1", "POST /a")
    cache.check("vobiz", "1", "POST /b")


def test_old_numbers_are_forgotten() -> None:
    clock = Clock()
    cache = NonceCache(clock)
    cache.check("plivo", "1", "POST /a")
    clock.now_s = nonces.REMEMBERED_S + 1
    cache.check("plivo", "1", "POST /b")


def test_no_more_than_so_many_are_kept() -> None:
    cache = NonceCache()
    for number in range(nonces.MOST + 1):
        cache.check("plivo", str(number), "POST /a")
    cache.check("plivo", "0", "POST /b")
    with pytest.raises(SignatureError):
        cache.check("plivo", str(nonces.MOST), "POST /b")
