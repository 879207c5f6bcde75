from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.front import ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, FrontWorld
from trunkline import carriers
from trunkline.calls.accounts import CarrierOverview, build_account
from trunkline.calls.secrets import CredentialCipher
from trunkline.carriers.twilio.account import TwilioAccount
from trunkline.errors import ConfigError, InvalidRequest, SignatureError, UnknownCarrier

TWILIO = carriers.get("twilio")


async def overview_of(world: FrontWorld) -> CarrierOverview:
    overviews = await world.context.accounts.overviews()
    assert [overview.carrier.name for overview in overviews] == list(carriers.NAMES)
    return next(overview for overview in overviews if overview.carrier is TWILIO)


OTHER_TOKEN = "f" * 32


async def save(
    world: FrontWorld, limit: dict[str, int | None] | None = None, **credentials: str | None
) -> None:
    await world.context.accounts.save(TWILIO, credentials=credentials, limit=limit or {})


async def token(world: FrontWorld) -> str | None:
    account = TwilioAccount.require(await world.context.accounts.account(TWILIO))
    return account.auth_token.get_secret_value() if account.auth_token else None


async def test_stored_values_win_until_they_are_null(world: FrontWorld) -> None:
    assert await token(world) == AUTH_TOKEN
    await save(world, auth_token=OTHER_TOKEN)
    assert await token(world) == OTHER_TOKEN
    await save(world, auth_token=None)
    assert await token(world) == AUTH_TOKEN


async def test_a_change_is_partial(world: FrontWorld) -> None:
    await save(world, auth_token=OTHER_TOKEN)
    await save(world, {"max_concurrent_calls": 3})
    await save(world, phone_number="+14155550123")
    assert await token(world) == OTHER_TOKEN
    assert await world.context.accounts.limit(TWILIO) == 3
    await save(world, {"max_concurrent_calls": None})
    assert await world.context.accounts.limit(TWILIO) == 10


async def test_a_blank_is_the_same_as_null(world: FrontWorld) -> None:
    await save(world, auth_token=OTHER_TOKEN)
    await save(world, auth_token="  ")
    assert await token(world) == AUTH_TOKEN
    assert (await world.store.fetch_carrier_settings())[0].credentials is None


async def test_credentials_are_sealed_in_the_store(world: FrontWorld) -> None:
    await save(world, auth_token=OTHER_TOKEN)
    [row] = await world.store.fetch_carrier_settings()
    assert row.credentials is not None
    assert OTHER_TOKEN.encode() not in row.credentials


async def test_what_cannot_be_used_is_not_stored(world: FrontWorld) -> None:
    with pytest.raises(InvalidRequest, match="password"):
        await save(world, password="x")
    with pytest.raises(ConfigError, match="TWILIO_ACCOUNT_SID: must be AC") as caught:
        await save(world, account_sid="secret-looking-value")
    assert "secret-looking-value" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert await world.store.fetch_carrier_settings() == []


async def test_credentials_of_a_lost_secret_can_be_replaced(world: FrontWorld) -> None:
    await save(world, {"max_concurrent_calls": 5}, auth_token=OTHER_TOKEN)
    [row] = await world.store.fetch_carrier_settings()
    sealed = CredentialCipher(b"another secret").encrypt({"auth_token": "x"})
    await world.store.save_carrier_settings(replace(row, credentials=sealed))
    with pytest.raises(ConfigError, match="store them again"):
        await world.context.accounts.account(TWILIO)
    overview = await overview_of(world)
    assert overview.problem is not None
    assert overview.max_concurrent_calls == 5
    await save(world, auth_token=OTHER_TOKEN)
    assert await token(world) == OTHER_TOKEN


async def test_webhooks_are_checked_with_the_account_that_they_name(world: FrontWorld) -> None:
    accounts = world.context.accounts
    assert (await accounts.account_for_webhook(TWILIO, ACCOUNT_SID)).account_id == ACCOUNT_SID
    with pytest.raises(SignatureError, match="not ours"):
        await accounts.account_for_webhook(TWILIO, "AC" + "9" * 32)
    world.environment.clear()
    with pytest.raises(SignatureError, match="no credentials"):
        await accounts.account_for_webhook(TWILIO, None)


async def test_what_calls_need_is_named(world: FrontWorld) -> None:
    del world.environment["TWILIO_AUTH_TOKEN"]
    with pytest.raises(ConfigError, match="TWILIO_AUTH_TOKEN"):
        await world.context.accounts.ready_account(TWILIO)


async def test_the_default_provider(world: FrontWorld) -> None:
    accounts = world.context.accounts
    assert await accounts.default_provider() == "twilio"  # the only one that is set up
    world.environment.clear()
    assert await accounts.default_provider() is None
    await accounts.save_default_provider("twilio")
    assert await accounts.default_provider() == "twilio"
    await accounts.save_default_provider(None)
    assert await accounts.default_provider() is None
    with pytest.raises(UnknownCarrier):
        await accounts.save_default_provider("acme")


async def test_an_overview_says_where_values_come_from_and_none_of_them(world: FrontWorld) -> None:
    await save(world, auth_token=OTHER_TOKEN)
    overview = await overview_of(world)
    assert overview.configured == {
        "account_sid": "environment",
        "auth_token": "stored",
        "phone_number": "environment",
    }
    assert overview.phone_number == OUR_NUMBER
    assert overview.missing == ()
    assert OTHER_TOKEN not in repr(overview)
    world.environment["TWILIO_ACCOUNT_SID"] = "wrong"
    overview = await overview_of(world)
    assert overview.problem is not None
    assert overview.missing == ("account_sid",)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ConfigError, match="TWILIO_NONSENSE"):
        build_account(TWILIO, {"nonsense": "x"})
