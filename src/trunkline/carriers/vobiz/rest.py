"""Vobiz's REST API, v1 (https://www.vobiz.ai/docs/api).

Calls are in ``trunkline.dialects.call_api``; numbers are here. Letters' case and the slash at the
end of a path count: a wrong one answers 401.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.webhook import to_e164
from trunkline.dialects.call_api import CallApi, CallApiRules, Reply
from trunkline.telephony.carrier import CarrierAccount, CarrierClient, CarrierNumber

__all__ = ["VobizClient", "new_client"]


def _digits(number: str) -> str:
    return number.removeprefix("+")


class _Number(Reply):
    e164: str


class _Numbers(Reply):
    items: list[_Number]


class VobizClient(CallApi):
    """The ``CarrierClient`` of Vobiz.

    Args:
        account: Whose calls.
        http: Shared by all clients of the process.
        request_timeout_s: Seconds for one whole request.

    Raises:
        ConfigError: The account lacks the credentials; names what to set.
    """

    def __init__(
        self, account: VobizAccount, http: httpx.AsyncClient, *, request_timeout_s: float = 15.0
    ) -> None:
        auth_id, auth_token = account.rest_credentials
        dialled: Callable[[str], str] = str if account.dial_with_plus else _digits
        super().__init__(
            CallApiRules(carrier="vobiz", dialled=dialled, number=to_e164, cancels_requests=False),
            http,
            root=f"{account.rest_base_url}/Account/{auth_id}",
            headers={"X-Auth-ID": auth_id, "X-Auth-Token": auth_token},
            request_timeout_s=request_timeout_s,
        )

    async def fetch_number(self, number: str) -> CarrierNumber | None:
        """Find a number of the account; which URL it is attached to the API does not say."""
        what = "fetch number"
        query = {"page": "1", "per_page": "25", "search": _digits(number)}
        page = self.read(what, _Numbers, await self.repeat(what, "/numbers", query))
        for found in page.items:
            if to_e164(_digits(found.e164)) == number:
                return CarrierNumber(
                    number=number, number_id=found.e164, voice_url=None, raw=found.fields()
                )
        return None

    async def check_credentials(self) -> None:
        """List one number."""
        await self.repeat("check credentials", "/numbers", {"page": "1", "per_page": "1"})


def new_client(account: CarrierAccount, http: httpx.AsyncClient) -> CarrierClient:
    """Make the ``VobizClient`` of an account."""
    return VobizClient(VobizAccount.require(account), http)
