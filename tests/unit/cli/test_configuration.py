from __future__ import annotations

import pytest

from trunkline import carriers
from trunkline.cli.configuration import account_from_environment, load_settings, only_carrier
from trunkline.errors import ConfigError, UnknownCarrier


def test_a_bad_variable_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_BASE_URL", "ftp://me:hunter2@voice")
    with pytest.raises(ConfigError, match=r"^PUBLIC_BASE_URL: ") as refused:
        load_settings()

    assert "hunter2" not in str(refused.value)


def test_the_carrier_is_the_one_asked_for_then_the_default_then_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = carriers.NAMES[0]

    assert only_carrier(first, load_settings()).name == first
    assert only_carrier(None, load_settings()).name == first
    monkeypatch.setenv("TELEPHONY_PROVIDER", "carrier-pigeon")
    with pytest.raises(UnknownCarrier):
        only_carrier(None, load_settings())


def test_credentials_come_from_the_carriers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = carriers.get("twilio")
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "1" * 32)

    assert account_from_environment(carrier).account_id == "AC" + "1" * 32
    assert account_from_environment(carrier).missing() == ["TWILIO_AUTH_TOKEN"]
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "nonsense")
    with pytest.raises(ConfigError, match="TWILIO_ACCOUNT_SID"):
        account_from_environment(carrier)
