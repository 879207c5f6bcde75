from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer, refusal
from trunkline.cli.calls import transcript_line

from .conftest import Run

CALL = {
    "id": "c1",
    "state": "completed",
    "agent_name": "desk",
    "from_number": "+14155550100",
    "direction": "inbound",
}
TURN = {"kind": "turn", "speaker": "bot", "text": "Hello there", "started_ms": 1250}


def test_calls_are_listed_with_their_filters(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/calls"] = (200, {"calls": [CALL], "next_cursor": None})
    result = run("calls", "list", "--agent", "desk", "--state", "completed", "--limit", "5")

    assert "c1" in result.stdout
    assert sorted(api.requests[0][2].split("&")) == [
        "agent_name=desk",
        "limit=5",
        "state=completed",
    ]
    assert json.loads(run("calls", "list", "--json").stdout)["calls"] == [CALL]


def test_a_call_is_shown_and_hung_up(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/calls/c1"] = (200, CALL)
    api.answers["POST", "/api/calls/c1/hangup"] = (200, CALL)

    assert "desk" in run("calls", "show", "c1").stdout
    assert json.loads(run("calls", "hangup", "c1", "--json").stdout) == CALL


def test_a_number_is_dialled(run: Run, api: ApiServer) -> None:
    api.answers["POST", "/api/calls/outbound"] = (201, CALL)
    options = (
        "--agent",
        "desk",
        "--from",
        "+15005550006",
        "--body",
        '{"order": 42}',
        "--amd",
        "detect",
    )
    run("calls", "dial", "+14155550100", *options)

    assert api.bodies("POST", "/api/calls/outbound") == [
        {
            "agent_name": "desk",
            "to_number": "+14155550100",
            "from_number": "+15005550006",
            "body": {"order": 42},
            "amd": "detect",
        }
    ]


def test_a_body_that_is_no_json_dials_nobody(run: Run, api: ApiServer) -> None:
    result = run("calls", "dial", "+14155550100", "--agent", "desk", "--body", "{")

    assert result.exit_code == 1
    assert api.requests == []


def test_a_limit_is_said(run: Run, api: ApiServer) -> None:
    api.answers["POST", "/api/calls/outbound"] = refusal(
        429, "limit_reached", "10 of 10 calls are in use"
    )
    result = run("calls", "dial", "+14155550100", "--agent", "desk")

    assert "error (limit_reached): 10 of 10 calls are in use" in result.stderr


def test_a_transcript_is_read_line_by_line(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/calls/c1/transcript"] = (200, {"call_id": "c1", "turns": [TURN]})

    assert run("calls", "transcript", "c1").stdout == "   1.25 s  bot     Hello there\n"
    assert json.loads(run("calls", "transcript", "c1", "--json").stdout)["turns"] == [TURN]


def test_a_recording_is_written(run: Run, api: ApiServer, tmp_path: Path) -> None:
    api.answers["GET", "/api/calls/c1/recording"] = (200, b"RIFFdata")
    run("calls", "recording", "c1")
    run("calls", "recording", "c1", "-o", str(tmp_path / "other.wav"))

    assert (tmp_path / "c1.wav").read_bytes() == b"RIFFdata"
    assert (tmp_path / "other.wav").read_bytes() == b"RIFFdata"


def test_a_recording_that_cannot_be_written_is_an_error(
    run: Run, api: ApiServer, tmp_path: Path
) -> None:
    api.answers["GET", "/api/calls/c1/recording"] = (200, b"RIFFdata")
    result = run("calls", "recording", "c1", "-o", str(tmp_path / "none" / "x.wav"))

    assert result.exit_code == 1
    assert "cannot write" in result.stderr


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({"latency_ms": 812.4}, "Hello there  (after 812 ms)"),
        ({"interrupted": True, "heard_text": "Hello"}, "(interrupted; heard: Hello)"),
        ({"interrupted": True}, "(interrupted)"),
        ({"kind": "dtmf", "speaker": "caller", "text": "1"}, "caller  [key 1]"),
        ({"started_ms": None, "speaker": None}, "  ?       Hello there"),
    ],
)
def test_a_line_of_a_transcript(change: dict[str, object], ending: str) -> None:
    assert transcript_line({**TURN, **change}).endswith(ending)  # type: ignore[arg-type]
