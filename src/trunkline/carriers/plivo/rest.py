"""Plivo's REST API, v1 (https://www.plivo.com/docs/voice/api/overview).

Calls are in ``trunkline.dialects.call_api``; numbers are here.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

import httpx

from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.dialects.call_api import CallApi, CallApiRules, Reply
from trunkline.errors import CarrierRejected
from trunkline.telephony.carrier import CarrierAccount, CarrierClient, CarrierNumber

__all__ = ["PlivoClient", "new_client"]


def _digits(number: str) -> str:
    return number.removeprefix("+")


_RULES = CallApiRules(carrier="plivo", dialled=_digits, cancels_requests=True)


class _Number(Reply):
    number: str
    application: str | None = None
    """Path of the application's resource."""


class _Application(Reply):
    answer_url: str | None = None
    answer_method: str | None = None


class PlivoClient(CallApi):
    """The ``CarrierClient`` of Plivo.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request.

    Raises:
        ConfigError: The account lacks the credentials; names what to set.
    """

    def __init__(
        self, account: PlivoAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        auth_id, auth_token = account.rest_credentials
        super().__init__(
            _RULES,
            http,
            root=f"{account.rest_base_url}/Account/{auth_id}",
            auth=httpx.BasicAuth(auth_id, auth_token),
            request_timeout_s=request_timeout_s,
        )

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Read a number of the account and the application that it is attached to."""
        what = "fetch number"
        try:
            content = await self.repeat(what, f"/Number/{quote(_digits(number), safe='')}/")
        except CarrierRejected as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        found = self.read(what, _Number, content)
        application = _Application()
        # "/v1/Account/MA…/Application/20372631212782780/"; nothing for a number without one.
        application_id = (found.application or "").rstrip("/").rpartition("/")[2]
        if application_id:
            path = f"/Application/{quote(application_id, safe='')}/"
            application = self.read(what, _Application, await self.repeat(what, path))
        return CarrierNumber(
            number=number,
            number_id=found.number,
            voice_url=application.answer_url or None,
            voice_method=application.answer_method or None,
            raw={**found.fields(), "application_details": application.fields()},
        )

    async def check_credentials(self) -> None:
        """List the ids of live calls."""
        await self.repeat("check credentials", "/Call/", {"status": "live"})


def new_client(account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
    """Make the ``PlivoClient`` of an account."""
    return PlivoClient(PlivoAccount.require(account), http)
