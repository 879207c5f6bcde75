from __future__ import annotations

import socket

import pytest
from pydantic import SecretStr

from tests.support.play_audio import (
    account_of,
    opened,
)
from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.errors import ConfigError

NAMES = ("plivo", "vobiz")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_environment_makes_a_server_take_it_for_the_carrier(name: str) -> None:
    async with opened(name) as service:
        _, account = account_of(service)
        assert account.missing() == []
        assert service.environment[f"{name.upper()}_API_BASE"] == service.base_url


async def test_credentials_that_are_given_are_used() -> None:
    account = PlivoAccount(auth_id="MA" + "X" * 18, auth_token=SecretStr("t"))
    async with opened("plivo", account=account) as service:
        assert service.credentials == {"MA" + "X" * 18: "t"}
        assert service.numbers == {}
    with pytest.raises(ConfigError, match="PLIVO_AUTH_TOKEN"):
        async with opened("plivo", account=PlivoAccount(auth_id="MA" + "X" * 18)):
            pass


async def test_a_port_that_is_taken_is_refused(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await opened(name, rest_port=port).__aenter__()


async def test_an_error_of_the_guest_comes_out_unwrapped(name: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with opened(name):
            _ = 1 // 0
