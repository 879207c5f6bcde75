"""Twilio's HTTP requests to a server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

import httpx

from trunkline.simulator import requester
from trunkline.simulator.contract import WebhookReport
from trunkline.simulator.requester import Reply
from trunkline.simulator.twilio.signing import sign_webhook

__all__ = ["Requester"]


class Requester(requester.Requester):
    """Sends Twilio's requests of one call.

    Args:
        http: Client; not closed here.
        auth_token: What signs.
        via: See ``Setup.via``.
        on_report: Told of every request made.
    """

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        auth_token: str,
        via: str | None,
        on_report: Callable[[WebhookReport], None],
    ) -> None:
        def sign(_: str, url: str, fields: Sequence[tuple[str, str]]) -> Mapping[str, str]:
            return {"X-Twilio-Signature": sign_webhook(auth_token, url, fields)}

        super().__init__(
            http=http,
            sign=sign,
            via=via,
            on_report=on_report,
            headers={"User-Agent": "TwilioProxy/1.1"},
            form_type="application/x-www-form-urlencoded; charset=UTF-8",
        )

    async def send(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        kind: str,
        method: str = "POST",
        delivery_id: str | None = None,
    ) -> Reply:
        """Make a request, with Twilio's retries; never raises for what the server does."""
        headers = {"I-Twilio-Idempotency-Token": delivery_id or str(uuid.uuid4())}
        return await self.request(url, fields, kind=kind, method=method, headers=headers)
