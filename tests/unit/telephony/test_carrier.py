from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from trunkline import carriers
from trunkline.errors import UnsupportedByCarrier
from trunkline.telephony.carrier import Carrier, CarrierAccount, DialOrder, Features, StreamConnect
from trunkline.telephony.webhook import Document


class ExampleAccount(CarrierAccount):
    ENV_PREFIX: ClassVar[str] = "EXAMPLE_"

    key: str | None = None
    secret: SecretStr | None = None

    @property
    def account_id(self) -> str:
        return self.key or ""

    def missing(self) -> Sequence[str]:
        return [] if self.key else [self.environment()["key"]]


BARE = Carrier(
    name="bare",
    display_name="Bare",
    account=ExampleAccount,
    features=Features(
        marks=False,
        clear=False,
        dtmf_in=False,
        dtmf_out=False,
        amd=False,
        cold_transfer=False,
        resumes_stream=False,
    ),
)


@pytest.mark.parametrize(
    ("require", "feature"),
    [
        (Carrier.require_webhook, "webhooks"),
        (Carrier.require_markup, "answer markup"),
        (Carrier.require_stream, "media streams"),
        (
            lambda carrier: carrier.require_client(ExampleAccount(), httpx.AsyncClient()),
            "a REST API",
        ),
        (
            lambda carrier: carrier.require_call_control(ExampleAccount(), httpx.AsyncClient()),
            "commands for live calls",
        ),
    ],
)
def test_what_a_carrier_lacks_is_refused_by_name(
    require: Callable[[Carrier], object], feature: str
) -> None:
    with pytest.raises(UnsupportedByCarrier) as caught:
        require(BARE)
    assert (caught.value.carrier, caught.value.feature) == ("bare", feature)


@pytest.mark.parametrize("name", carriers.NAMES)
def test_what_a_carrier_has_is_given(name: str) -> None:
    carrier = carriers.get(name)
    if carrier.new_stream is not None:
        # A new core for each socket.
        assert carrier.require_stream() is not carrier.require_stream()
    if carrier.webhook is not None:
        assert carrier.require_webhook() is carrier.webhook
    if carrier.markup is not None:
        assert carrier.require_markup() is carrier.markup


def test_the_client_is_built_from_account_and_transport() -> None:
    made: list[tuple[CarrierAccount, httpx.AsyncClient]] = []

    def build(account: CarrierAccount, http: httpx.AsyncClient) -> object:
        made.append((account, http))
        return made

    carrier = Carrier(
        name="bare",
        display_name="Bare",
        account=ExampleAccount,
        features=BARE.features,
        new_client=build,  # pyright: ignore[reportArgumentType] - only passed through here
    )
    account, http = ExampleAccount(), httpx.AsyncClient()
    assert carrier.require_client(account, http) is made
    assert made == [(account, http)]


def test_accounts_name_their_environment() -> None:
    assert ExampleAccount.environment() == {
        "phone_number": "EXAMPLE_PHONE_NUMBER",
        "key": "EXAMPLE_KEY",
        "secret": "EXAMPLE_SECRET",
    }
    assert ExampleAccount().missing() == ["EXAMPLE_KEY"]


def test_accounts_are_strict_and_hide_secrets() -> None:
    account = ExampleAccount(key=" k ", secret=SecretStr("do-not-show"))
    assert account.key == "k"
    assert "do-not-show" not in repr(account)
    with pytest.raises(ValidationError):
        ExampleAccount.model_validate({"kay": "k"})
    with pytest.raises(ValidationError):
        account.key = "other"  # pyright: ignore[reportAttributeAccessIssue] - frozen


def test_orders_and_connections_have_defaults_that_add_nothing() -> None:
    document = Document(content_type="application/xml", body=b"")
    order = DialOrder(
        call_id="c",
        to_number="+1",
        from_number="+2",
        stream=StreamConnect(stream_url="wss://x"),
        answer=document,
        answer_url="u",
        status_url="s",
    )
    assert (order.amd, order.ring_timeout_s, order.max_duration_s) == (None, 60, None)
    connect = StreamConnect(stream_url="wss://a.test/")
    assert (connect.parameters, connect.continue_url, connect.stream_status_url) == ({}, None, None)
