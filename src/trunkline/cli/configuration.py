"""Settings for a command: read once, with what is wrong said as one line."""

from __future__ import annotations

from pydantic import ValidationError

from trunkline import carriers
from trunkline.calls.accounts import build_account
from trunkline.errors import ConfigError
from trunkline.settings import Settings, carrier_environment
from trunkline.telephony.carrier import Carrier, CarrierAccount

__all__ = ["account_from_environment", "load_settings", "only_carrier"]


def load_settings() -> Settings:
    """Return the settings of the environment and ``.env``.

    Raises:
        ConfigError: a variable cannot be used; names it, never its value.
    """
    try:
        return Settings()  # pyright: ignore[reportCallIssue] - the environment fills the fields
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = ".".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{variable}: {reason}", field=variable) from None


def only_carrier(name: str | None, settings: Settings) -> Carrier:
    """Return the carrier of that name; without one the default, or the first there is.

    Raises:
        UnknownCarrier: there is none of that name.
    """
    return carriers.get(name or settings.telephony_provider or carriers.NAMES[0])


def account_from_environment(carrier: Carrier) -> CarrierAccount:
    """Return the carrier's credentials as the environment and ``.env`` have them.

    Raises:
        ConfigError: they cannot be used together.
    """
    variables = carrier_environment(carrier.account.ENV_PREFIX)
    return build_account(
        carrier,
        {
            field: variables[variable]
            for field, variable in carrier.account.environment().items()
            if variables.get(variable, "").strip()
        },
    )
