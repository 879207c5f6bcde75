from __future__ import annotations

import pytest

from tests.support.api_server import api_server, refusal
from trunkline.cli.server import Server, ServerRefused, ServerUnreachable, as_list, as_object


def test_the_key_is_presented() -> None:
    with api_server({("GET", "/api/agents"): (200, [])}) as api, Server(api.url, "tk_1") as server:
        assert server.get("/api/agents") == []

    assert api.headers[0]["authorization"] == "Bearer tk_1"


def test_without_a_key_none_is_presented() -> None:
    with api_server({("GET", "/a"): (200, {})}) as api, Server(api.url + "/", None) as server:
        server.get("/a")

    assert "authorization" not in api.headers[0]


def test_a_refusal_keeps_the_servers_code_message_and_details() -> None:
    answers = {("POST", "/a"): refusal(429, "limit_reached", "all lines busy", limit=10)}
    with (
        api_server(answers) as api,
        Server(api.url, None) as server,
        pytest.raises(ServerRefused) as refused,
    ):
        server.send("POST", "/a", {})

    error = refused.value
    assert (error.status, error.code, str(error)) == (429, "limit_reached", "all lines busy")
    assert error.details == {"limit": 10}


def test_a_missing_key_is_explained() -> None:
    answers = {("GET", "/a"): refusal(401, "missing_proof", "no proof")}
    with (
        api_server(answers) as api,
        Server(api.url, None) as server,
        pytest.raises(ServerRefused, match="trunkline keys create"),
    ):
        server.get("/a")


def test_nobody_there_is_explained() -> None:
    unreachable = pytest.raises(ServerUnreachable, match="trunkline serve")
    with Server("http://127.0.0.1:1", None) as server, unreachable:
        server.get("/a")


def test_a_server_of_another_kind_is_recognised() -> None:
    with api_server({("GET", "/a"): (200, b"RIFF")}) as api, Server(api.url, None) as server:
        with pytest.raises(ServerRefused) as refused:
            server.get("/a")
        assert server.get_bytes("/a") == b"RIFF"

    assert refused.value.code == "not_trunkline"


def test_an_answer_without_a_body_is_none() -> None:
    with api_server({("DELETE", "/a"): (204, None)}) as api, Server(api.url, None) as server:
        assert server.send("DELETE", "/a") is None


def test_json_of_another_kind_counts_as_empty() -> None:
    assert as_object([1]) == {}
    assert as_list({"a": 1}) == []
