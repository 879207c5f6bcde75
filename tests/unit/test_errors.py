from __future__ import annotations

import inspect

import pytest

from trunkline import errors
from trunkline.errors import TrunklineError

INSTANCES: list[tuple[TrunklineError, str, dict[str, object]]] = [
    (errors.ConfigError("set A", field="a"), "set A", {"field": "a"}),
    (errors.ConfigError("set A"), "set A", {}),
    (errors.UnknownCarrier("x"), "there is no carrier named 'x'", {}),
    (errors.UnknownAgent("x"), "there is no enabled agent named 'x'", {}),
    (errors.UnknownCall("x"), "there is no call 'x'", {}),
    (
        errors.UnsupportedByCarrier("x", "clear"),
        "x does not support clear",
        {"provider": "x", "feature": "clear"},
    ),
    (errors.InvalidRequest("no", field="a", code="b"), "no", {"field": "a"}),
    (errors.InvalidRequest("no"), "no", {}),
    (
        errors.InvalidNumber("to_number"),
        "to_number must be a phone number in E.164, such as +14155550100",
        {"field": "to_number"},
    ),
    (errors.Conflict("twice", code="agent_exists"), "twice", {}),
    (errors.Conflict("twice"), "twice", {}),
    (errors.MissingProof(), "no proof of origin was presented", {}),
    (errors.InvalidKey(), "the API key is not valid", {}),
    (errors.UnknownRecording("c1"), "there is no recording of call 'c1'", {}),
    (errors.SignatureError("wrong", signed_url="u"), "signature refused: wrong", {}),
    (errors.TokenError("expired"), "stream token refused: expired", {}),
    (
        errors.NoFreeSlot(scope="carrier:x", limit=10, in_use=10, carrier="x"),
        "10 of 10 calls are in use in carrier:x",
        {"scope": "carrier:x", "limit": 10, "in_use": 10, "provider": "x"},
    ),
    (
        errors.NoFreeSlot(scope="machine", limit=1, in_use=1),
        "1 of 1 calls are in use in machine",
        {"scope": "machine", "limit": 1, "in_use": 1},
    ),
    (errors.Draining(), "this server is draining and takes no new calls", {}),
    (errors.LocalProtocolError("our bug"), "our bug", {}),
    (errors.RemoteProtocolError("garbage", close_code=1007), "garbage", {}),
    (
        errors.CarrierTimeout("x", "place call"),
        "x place call: carrier_timeout",
        {"provider": "x", "operation": "place call"},
    ),
    (
        errors.CarrierUnavailable("x", "hang up", reason="HTTP 503", retryable=True),
        "x hang up: HTTP 503",
        {"provider": "x", "operation": "hang up"},
    ),
    (
        errors.CarrierBusy("x", "hang up"),
        "x hang up: carrier_rate_limited",
        {"provider": "x", "operation": "hang up"},
    ),
    (
        errors.CarrierRejected("x", "place call", status=400, carrier_code="21211", reason="bad"),
        "x place call: bad",
        {
            "provider": "x",
            "operation": "place call",
            "carrier_status": 400,
            "carrier_code": "21211",
        },
    ),
    (errors.DispatchError("no worker"), "no worker", {}),
    (errors.WorkerFailed("it died"), "it died", {}),
    (errors.ChannelError("too long"), "too long", {}),
    (errors.StoreError("refused"), "refused", {}),
    (errors.StoreUnavailable("away"), "away", {}),
]

ABSTRACT = {"TrunklineError", "AccessDenied", "ProtocolError", "CarrierError"}
"""Caught, never raised."""


def defined() -> dict[str, type[TrunklineError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }


def test_all_is_sorted_and_complete() -> None:
    assert errors.__all__ == sorted(defined())


def test_the_docstring_draws_every_error() -> None:
    drawn = {word for word in (errors.__doc__ or "").split() if word in defined()}
    assert drawn == set(defined())


def test_every_error_has_the_one_root_and_a_place_in_this_file() -> None:
    assert all(issubclass(error, TrunklineError) for error in defined().values())
    shown = {type(instance).__name__ for instance, _, _ in INSTANCES}
    assert shown | ABSTRACT == set(defined())


@pytest.mark.parametrize(
    ("error", "text", "details"), INSTANCES, ids=lambda value: repr(value)[:40]
)
def test_text_and_details(error: TrunklineError, text: str, details: dict[str, object]) -> None:
    assert str(error) == text
    assert error.details == details


def test_every_error_that_is_raised_has_a_code_of_its_own() -> None:
    codes = {name: error.code for name, error in defined().items() if name not in ABSTRACT}
    # Protocol errors never reach a client; they end as a close code.
    both = [codes.pop("LocalProtocolError"), codes.pop("RemoteProtocolError")]
    assert both == ["protocol_error"] * 2
    assert len(set(codes.values())) == len(codes)


def test_a_code_can_be_narrowed_by_the_raiser_alone() -> None:
    assert errors.InvalidRequest("no", code="caller_id_missing").code == "caller_id_missing"
    assert errors.Conflict("no", code="agent_exists").code == "agent_exists"
    assert errors.InvalidRequest.code == "invalid_request"
    assert errors.Conflict.code == "conflict"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError("a"), ValueError),
        (errors.InvalidNumber("a"), ValueError),
        (errors.UnknownCarrier("a"), LookupError),
        (errors.UnknownAgent("a"), LookupError),
        (errors.UnknownCall("a"), LookupError),
    ],
)
def test_some_are_builtin_errors_too(error: TrunklineError, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


def test_what_may_be_sent_again() -> None:
    assert not errors.CarrierTimeout("x", "y").retryable
    assert errors.CarrierBusy("x", "y").retryable
    assert not errors.CarrierUnavailable("x", "y").retryable
    assert errors.CarrierUnavailable("x", "y", retryable=True).retryable
    assert not errors.CarrierRejected("x", "y", status=400).retryable


def test_details_never_hold_the_signed_url() -> None:
    error = errors.SignatureError("wrong", signed_url="https://voice.example.test/secret")
    assert error.signed_url not in f"{error} {error.details}"


def test_a_refused_message_is_a_protocol_error_unless_it_says_otherwise() -> None:
    assert errors.RemoteProtocolError("x").close_code == 1002
