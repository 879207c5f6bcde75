from __future__ import annotations

import inspect

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from structlog.testing import capture_logs

from tests.support.front import client_of
from trunkline import errors
from trunkline.http.errors import STATUS, add_error_handlers, status_of, without_query

TREE = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.TrunklineError)
]


class Body(BaseModel):
    number: int


def app_that_raises(error: Exception) -> FastAPI:
    app = FastAPI()
    app.state.trusted_proxies = ()
    add_error_handlers(app)

    @app.post("/thing/{thing_id}")
    async def thing(thing_id: str, body: Body | None = None) -> None:
        raise error

    return app


async def ask(error: Exception, method: str = "POST", **sent: object) -> httpx.Response:
    async with client_of(app_that_raises(error)) as client:
        return await client.request(method, "/thing/secret-id", **sent)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", TREE)
def test_every_error_has_a_status(cls: type[errors.TrunklineError]) -> None:
    status = next(STATUS[base] for base in cls.__mro__ if base in STATUS)
    assert 400 <= status < 600


def test_the_nearest_class_counts() -> None:
    assert status_of(errors.InvalidNumber("to_number")) == 422
    assert status_of(errors.CarrierTimeout("acme", "dial")) == 504
    assert status_of(errors.CarrierBusy("acme", "dial")) == 502
    assert status_of(errors.WorkerFailed("died")) == 503


async def test_an_error_has_code_message_and_details() -> None:
    full = errors.NoFreeSlot(scope="carrier:acme", limit=10, in_use=10, carrier="acme")
    with capture_logs() as lines:
        answer = await ask(full)
    assert answer.status_code == 429
    assert answer.json() == {
        "error": {
            "code": "limit_reached",
            "message": "10 of 10 calls are in use in carrier:acme",
            "details": {"scope": "carrier:acme", "limit": 10, "in_use": 10, "provider": "acme"},
        }
    }
    [line] = lines
    assert (line["event"], line["code"], line["route"]) == (
        "request refused",
        "limit_reached",
        "/thing/{thing_id}",
    )
    assert "secret-id" not in str(line)


async def test_a_signature_says_to_the_log_what_was_checked_and_nothing_to_the_peer() -> None:
    error = errors.SignatureError(
        "no candidate fits", signed_url="https://v.example/x?From=%2B1415"
    )
    with capture_logs() as lines:
        answer = await ask(error)
    assert answer.status_code == 403
    assert "candidate" not in answer.text
    assert lines[0]["signed_url"] == "https://v.example/x?…"
    assert lines[0]["reason"] == "no candidate fits"


async def test_missing_proof_names_the_scheme() -> None:
    answer = await ask(errors.MissingProof())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_what_the_framework_refuses_has_the_same_shape() -> None:
    error = errors.Draining()
    answer = await ask(error, "DELETE")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    answer = await ask(error, json={"number": "x"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["details"] == {"field": "number"}
    answer = await ask(error, content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_a_bug_tells_the_log_and_not_the_peer() -> None:
    with capture_logs() as lines:
        answer = await ask(RuntimeError("the password is hunter2"))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "hunter2" not in answer.text
    assert [line["event"] for line in lines] == ["request failed unexpectedly"]


def test_queries_are_left_out_of_logs() -> None:
    assert without_query("https://v.example/x") == "https://v.example/x"
    assert without_query(None) is None
