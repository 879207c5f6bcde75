"""The server's HTTP API as the commands use it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeAlias, cast

import httpx

from trunkline.errors import TrunklineError
from trunkline.settings import Settings

__all__ = [
    "Json",
    "Server",
    "ServerRefused",
    "ServerUnreachable",
    "as_list",
    "as_object",
    "refusal_of",
]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_TIMEOUT = httpx.Timeout(120.0, connect=5.0)  # saving an agent loads it once, which may take long


class ServerUnreachable(TrunklineError):
    """Nobody answers at the server's address."""

    code = "server_unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"no Trunkline server answers at {self.url} ({self.reason}); "
            "start one with `trunkline serve`, or set TRUNKLINE_URL"
        )


class ServerRefused(TrunklineError):
    """The server answered with an error; ``code`` and ``details`` are its own."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, object]) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self._details = dict(details)

    def __str__(self) -> str:
        if self.status == 401:
            return f"{self.message}; set TRUNKLINE_API_KEY (make one with `trunkline keys create`)"
        return self.message

    @property
    def details(self) -> dict[str, object]:
        """What the server added."""
        return self._details


class Server:
    """A server at ``url``; closes its connections when the context is left.

    Args:
        url: Such as ``http://127.0.0.1:8000``.
        api_key: Presented with each request, if there is one.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self.url = url.rstrip("/")
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the server that ``TRUNKLINE_URL`` and ``TRUNKLINE_API_KEY`` name."""
        key = settings.trunkline_api_key
        return cls(settings.trunkline_url, None if key is None else key.get_secret_value())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Json:
        """Return the answer to a GET.

        Raises:
            ServerUnreachable: nobody answers.
            ServerRefused: the answer is an error.
        """
        return _json(self._send("GET", path, query=query))

    def get_bytes(self, path: str) -> bytes:
        """Return the body of the answer to a GET; raises as ``get`` does."""
        return self._send("GET", path).content

    def send(self, method: str, path: str, body: Json = None) -> Json:
        """Return the answer to a request with a JSON body; raises as ``get`` does."""
        return _json(self._send(method, path, body=body))

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Json = None,
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, params=query, json=body)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ServerUnreachable(self.url, type(error).__name__) from error
        if response.is_success:
            return response
        raise refusal_of(response)


def as_object(value: Json) -> dict[str, Json]:
    """Return a JSON object; a server of another kind gives an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Return a JSON array; a server of another kind gives an empty one."""
    return value if isinstance(value, list) else []


def _json(response: httpx.Response) -> Json:
    if not response.content:
        return None
    try:
        return cast("Json", response.json())
    except ValueError:
        raise ServerRefused(
            response.status_code,
            "not_trunkline",
            "the answer is not JSON: no Trunkline server?",
            {},
        ) from None


def refusal_of(response: httpx.Response) -> ServerRefused:
    """Return the error that an answer says, or its status where it says none."""
    try:
        error = as_object(as_object(cast("Json", response.json())).get("error"))
    except ValueError:
        error = {}
    status = response.status_code
    return ServerRefused(
        status,
        str(error.get("code") or f"http_{status}"),
        str(error.get("message") or f"the server answered with HTTP {status}"),
        as_object(error.get("details")),
    )
