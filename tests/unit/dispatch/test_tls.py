from __future__ import annotations

import ssl
from collections.abc import Iterator

import certifi
import httpcore2
import httpx2
import pytest

from trunkline.dispatch.tls import SpareContexts


@pytest.fixture
def built() -> list[ssl.SSLContext]:
    return []


@pytest.fixture
def spares(built: list[ssl.SSLContext]) -> Iterator[SpareContexts]:
    real = ssl.create_default_context

    def build(*arguments: ssl.Purpose, **named: str | bytes | None) -> ssl.SSLContext:
        built.append(real(*arguments, **named))  # type: ignore[arg-type]
        return built[-1]

    real_httpcore2 = httpcore2.default_ssl_context
    yield SpareContexts(build)
    ssl.create_default_context = real
    httpcore2.default_ssl_context = real_httpcore2


def test_a_context_is_ready_before_it_is_asked_for(
    spares: SpareContexts, built: list[ssl.SSLContext]
) -> None:
    spares.install()
    ssl.create_default_context(cafile=certifi.where())  # as loading an agent does
    spares.fill()
    ready = len(built)
    given = [ssl.create_default_context(), ssl.create_default_context(cafile=certifi.where())]
    assert len(built) == ready, "nothing was built"
    assert all(context.verify_mode is ssl.CERT_REQUIRED for context in given)
    assert all(context.check_hostname for context in given)


def test_no_context_is_given_out_twice(spares: SpareContexts) -> None:
    spares.fill()
    given = [spares.create_default_context() for _ in range(10)]
    given[0].check_hostname = False
    given[0].verify_mode = ssl.CERT_NONE
    assert len({id(context) for context in given}) == 10
    assert all(context.verify_mode is ssl.CERT_REQUIRED for context in given[1:])


def test_what_is_not_the_default_is_built(
    spares: SpareContexts, built: list[ssl.SSLContext]
) -> None:
    spares.fill()
    ready = len(built)
    context = spares.create_default_context(ssl.Purpose.CLIENT_AUTH)
    assert context.verify_mode is ssl.CERT_NONE
    assert len(built) == ready + 1


def test_openais_client_finds_its_context_ready(
    spares: SpareContexts, built: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    spares.install()
    loaded = httpx2.create_ssl_context()
    spares.fill()
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", None)
    given = [httpx2.create_ssl_context() for _ in range(3)]
    assert len({id(context) for context in (loaded, *given)}) == 4
    assert all(context.verify_mode is ssl.CERT_REQUIRED for context in given)
