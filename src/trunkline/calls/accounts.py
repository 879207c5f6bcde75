"""Accounts at carriers: the environment's credentials with stored ones over them.

A change counts from the next call on.
A field that is stored wins over its environment variable; stored null gives the variable back its
say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog
from pydantic import ValidationError

from trunkline import carriers
from trunkline.calls.secrets import CredentialCipher
from trunkline.errors import ConfigError, InvalidRequest, SignatureError
from trunkline.store.records import CarrierSettings, Store
from trunkline.telephony.carrier import Carrier, CarrierAccount

__all__ = ["Accounts", "CarrierOverview", "build_account"]

log = structlog.get_logger(__name__)

DEFAULT_PROVIDER = "default_provider"  # name of the stored setting


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierOverview:
    """One carrier's set-up as the API shows it.

    Never a secret, only which fields have a value and from where.
    """

    carrier: Carrier
    configured: Mapping[str, str]
    """Field → ``stored`` or ``environment``."""

    missing: tuple[str, ...]
    max_concurrent_calls: int
    phone_number: str | None
    account_id: str
    problem: str | None = None
    """Why the values given cannot be used together."""


def build_account(carrier: Carrier, fields: Mapping[str, str]) -> CarrierAccount:
    """An account from plain text fields.

    Raises:
        ConfigError: a field is unknown or has a value that the carrier's account refuses; names
            it, not the value.
    """
    try:
        return carrier.account.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        name = f"{carrier.account.ENV_PREFIX}{where.upper()}" if where else carrier.display_name
        why = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{name}: {why}", field=where or None) from None


class Accounts:
    """Looks credentials up, freshly from the store each time.

    That is one indexed read, and no cache to go stale.

    Args:
        environment: Variables that start with a prefix (``settings.carrier_environment``).
        default_provider: ``TELEPHONY_PROVIDER``.
    """

    def __init__(
        self,
        *,
        store: Store,
        cipher: CredentialCipher,
        environment: Callable[[str], Mapping[str, str]],
        default_provider: str | None,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._environment = environment
        self._default_provider = default_provider
        self._saving = asyncio.Lock()

    async def _stored(self) -> dict[str, CarrierSettings]:
        return {row.carrier: row for row in await self._store.fetch_carrier_settings()}

    def _merge(self, carrier: Carrier, row: CarrierSettings | None) -> dict[str, tuple[str, str]]:
        """Field → (value, source)."""
        variables = self._environment(carrier.account.ENV_PREFIX)
        merged = {
            field: (variables[variable], "environment")
            for field, variable in carrier.account.environment().items()
            if variables.get(variable, "").strip()
        }
        if row is not None and row.credentials is not None:
            merged |= {
                field: (value, "stored")
                for field, value in self._cipher.decrypt(row.credentials).items()
            }
        return merged

    async def account(self, carrier: Carrier) -> CarrierAccount:
        """The carrier's account; fields that nobody set are empty.

        Raises:
            ConfigError: the values cannot be used.
        """
        merged = self._merge(carrier, (await self._stored()).get(carrier.name))
        return build_account(carrier, {field: value for field, (value, _) in merged.items()})

    async def account_for_webhook(self, carrier: Carrier, account_id: str | None) -> CarrierAccount:
        """The account to check a webhook with; the request's own account id must be ours.

        Raises:
            SignatureError: we hold no credentials for that account, so nothing can be proved.
        """
        account = await self.account(carrier)
        if account.missing():
            raise SignatureError(f"no credentials are set for {carrier.name}")
        if account_id and account.account_id and account_id != account.account_id:
            raise SignatureError("the account is not ours")
        return account

    async def ready_account(self, carrier: Carrier) -> CarrierAccount:
        """The account, with everything that REST calls need.

        Raises:
            ConfigError: names the variables that are missing.
        """
        account = await self.account(carrier)
        missing = account.missing()
        if missing:
            raise ConfigError(
                f"{carrier.display_name} needs {', '.join(missing)}"
                " (environment or PUT /api/settings/telephony)",
                field=missing[0],
            )
        return account

    async def limit(self, carrier: Carrier) -> int:
        """Calls at once with this carrier."""
        row = (await self._stored()).get(carrier.name)
        if row is not None and row.max_concurrent_calls is not None:
            return row.max_concurrent_calls
        return carrier.default_max_concurrent_calls

    async def default_provider(self) -> str | None:
        """The stored default, else ``TELEPHONY_PROVIDER``, else the only carrier that is set up."""
        stored = await self._store.fetch_setting(DEFAULT_PROVIDER)
        if stored or self._default_provider:
            return stored or self._default_provider
        ready = [
            overview.carrier.name for overview in await self.overviews() if not overview.missing
        ]
        return ready[0] if len(ready) == 1 else None

    async def overviews(self) -> list[CarrierOverview]:
        """Every carrier's set-up."""
        stored = await self._stored()
        return [self._overview(carriers.get(name), stored.get(name)) for name in carriers.NAMES]

    def _overview(self, carrier: Carrier, row: CarrierSettings | None) -> CarrierOverview:
        limit = row.max_concurrent_calls if row is not None else None
        shown = CarrierOverview(
            carrier=carrier,
            configured={},
            missing=(),
            max_concurrent_calls=carrier.default_max_concurrent_calls if limit is None else limit,
            phone_number=None,
            account_id="",
        )
        try:
            merged = self._merge(carrier, row)
            account = build_account(carrier, {field: value for field, (value, _) in merged.items()})
        except ConfigError as error:
            return replace(shown, problem=str(error), missing=(error.field or carrier.name,))
        return replace(
            shown,
            configured={field: source for field, (_, source) in merged.items()},
            missing=tuple(account.missing()),
            phone_number=account.phone_number,
            account_id=account.account_id,
        )

    async def save_default_provider(self, name: str | None) -> None:
        """Store the default carrier, or forget it; raises ``UnknownCarrier``."""
        await self._store.save_setting(
            DEFAULT_PROVIDER, None if name is None else carriers.get(name).name
        )

    async def save(
        self,
        carrier: Carrier,
        *,
        credentials: Mapping[str, str | None],
        limit: Mapping[str, int | None],
    ) -> None:
        """Store a partial change: a field set to None is forgotten, one not named stays.

        Args:
            carrier: Whose settings.
            credentials: Account field → value; blank is None.
            limit: Empty, or ``max_concurrent_calls`` with a number or None.

        Raises:
            InvalidRequest: a field that the carrier's account does not have.
            ConfigError: the result cannot be used.
        """
        async with self._saving:
            row = (await self._stored()).get(carrier.name) or CarrierSettings(carrier=carrier.name)
            if credentials:
                fields = self._change(carrier, self._readable(row), credentials)
                row = replace(row, credentials=self._cipher.encrypt(fields) if fields else None)
                merged = self._merge(carrier, row)
                build_account(carrier, {field: value for field, (value, _) in merged.items()})
            if "max_concurrent_calls" in limit:
                row = replace(row, max_concurrent_calls=limit["max_concurrent_calls"])
            await self._store.save_carrier_settings(row)

    def _readable(self, row: CarrierSettings) -> dict[str, str]:
        """What is stored; nothing when that was under another secret, so it can be replaced."""
        if row.credentials is None:
            return {}
        try:
            return self._cipher.decrypt(row.credentials)
        except ConfigError:
            log.warning("stored credentials cannot be read and are replaced", carrier=row.carrier)
            return {}

    @staticmethod
    def _change(
        carrier: Carrier, fields: dict[str, str], credentials: Mapping[str, str | None]
    ) -> dict[str, str]:
        for field, value in credentials.items():
            if field not in carrier.account.model_fields:
                raise InvalidRequest(f"{carrier.name} has no setting named {field}", field=field)
            if value is None or not value.strip():
                fields.pop(field, None)
            else:
                fields[field] = value
        return fields
