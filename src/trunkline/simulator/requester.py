"""A carrier's HTTP requests to a server: signed, bounded, repeated as the URL's fragment says.

Several carriers read the same connection overrides from a webhook URL's fragment
(https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from trunkline.simulator.contract import WebhookReport

__all__ = ["Overrides", "Reply", "Requester", "Sign", "redirected"]

Sign: TypeAlias = "Callable[[str, str, Sequence[tuple[str, str]]], Mapping[str, str]]"
"""Headers that prove a request, from its method, its URL and the fields of its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server answered. ``status`` None: nothing, and ``error`` says why."""

    status: int | None
    content_type: str = ""
    text: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """A URL's connection overrides, from its fragment. Times in milliseconds."""

    connect_timeout_ms: int = 5000
    total_timeout_ms: int = 15_000
    retries: int = 1
    retry_on: frozenset[str] = frozenset({"ct"})
    """Any of ``4xx``, ``5xx``, ``ct`` (no connection), ``rt`` (no answer in time), ``all``."""

    def override(self, url: str) -> Overrides:
        """Read ``#ct=2000&tt=15000&rc=2&rp=5xx,ct``; what is not there stays as it is."""
        given = dict(parse_qsl(urlsplit(url).fragment))
        total_ms = str(self.total_timeout_ms)
        retry_on = given.get("rp")
        return Overrides(
            connect_timeout_ms=int(given.get("ct", self.connect_timeout_ms)),
            total_timeout_ms=min(int(given.get("tt", total_ms)), int(given.get("rt", total_ms))),
            retries=int(given.get("rc", self.retries)),
            retry_on=self.retry_on if retry_on is None else frozenset(retry_on.split(",")),
        )

    def wants_retry(self, reply: Reply) -> bool:
        """Say whether a carrier would send the same request again after ``reply``."""
        if reply.status is None:
            word = reply.error
        elif reply.status >= 500:
            word = "5xx"
        elif reply.status >= 400:
            word = "4xx"
        else:
            return False
        return word in self.retry_on or "all" in self.retry_on


def redirected(url: str, via: str | None) -> tuple[str, str]:
    """Return where a URL is really sent, and the ``Host`` to name there."""
    parts = urlsplit(url)
    if via is None:
        return urlunsplit(parts._replace(fragment="")), parts.netloc.rpartition("@")[2]
    target = urlsplit(via)
    rest = parts._replace(scheme=target.scheme, netloc=target.netloc, fragment="")
    return urlunsplit(rest), parts.netloc.rpartition("@")[2]


class Requester:
    """Sends a carrier's requests of one call.

    Args:
        http: Client; not closed here.
        sign: What proves a request.
        via: See ``Setup.via``.
        on_report: Told of every request made.
        headers: Sent with every request, such as ``User-Agent``.
        form_type: ``Content-Type`` of a form.
        defaults: Time-outs and retries of a URL that says nothing.
    """

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        sign: Sign,
        via: str | None,
        on_report: Callable[[WebhookReport], None],
        headers: Mapping[str, str],
        form_type: str = "application/x-www-form-urlencoded",
        defaults: Overrides | None = None,
    ) -> None:
        self._http = http
        self._sign = sign
        self._via = via
        self._on_report = on_report
        self._headers = dict(headers)
        self._form_type = form_type
        self._defaults = defaults or Overrides()

    async def request(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        kind: str,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request, with the carrier's retries; never raises for what the server does."""
        overrides = self._defaults.override(url)
        headers = {**self._headers, **(headers or {})}
        reply = await self._attempt(url, fields, headers, kind, method, overrides)
        for _ in range(overrides.retries):
            if not overrides.wants_retry(reply):
                break
            reply = await self._attempt(url, fields, headers, kind, method, overrides)
        return reply

    async def _attempt(
        self,
        url: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str],
        kind: str,
        method: str,
        overrides: Overrides,
    ) -> Reply:
        clock = asyncio.get_running_loop().time
        started_s = clock()
        try:
            async with asyncio.timeout(overrides.total_timeout_ms / 1000):
                response = await self._http.send(
                    self._build(url, fields, headers, method, overrides)
                )
            reply = Reply(
                status=response.status_code,
                content_type=response.headers.get("content-type", ""),
                text=response.text,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            reply = Reply(status=None, error="ct")
        except (TimeoutError, httpx.HTTPError):
            reply = Reply(status=None, error="rt")
        self._on_report(
            WebhookReport(
                kind=kind,
                url=url,
                status=reply.status,
                elapsed_ms=round((clock() - started_s) * 1000, 1),
                error=reply.error,
            )
        )
        return reply

    def _build(
        self,
        url: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str],
        method: str,
        overrides: Overrides,
    ) -> httpx.Request:
        pairs: Sequence[tuple[str, str]] = tuple(fields.items())
        content = b""
        sent_headers = dict(headers)
        if method.upper() == "GET":
            bare = url.split("#", 1)[0]
            url = f"{bare}{'&' if '?' in bare else '?'}{urlencode(pairs)}"
            pairs = ()
        else:
            content = urlencode(pairs).encode()
            sent_headers["Content-Type"] = self._form_type
        sent_headers |= self._sign(method.upper(), url, pairs)
        target, host = redirected(url, self._via)
        return self._http.build_request(
            method.upper(),
            target,
            content=content or None,
            headers={**sent_headers, "Host": host},
            timeout=httpx.Timeout(
                overrides.total_timeout_ms / 1000, connect=overrides.connect_timeout_ms / 1000
            ),
        )
