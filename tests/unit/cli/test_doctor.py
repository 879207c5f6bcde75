from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.api_server import ApiServer, refusal
from trunkline.cli.doctor import (
    CHECKS,
    Facts,
    check_agent,
    check_base_url,
    check_credentials,
    check_keys,
    check_number,
    check_public_address,
    check_server,
)
from trunkline.simulator.contract import Setup
from trunkline.simulator.twilio.service import TwilioService, TwilioSimulator
from trunkline.telephony.carrier import CarrierNumber

from .conftest import Run

VOICE_URL = "https://voice.example.test/telephony/twilio/inbound/desk"
PIPELINE = {
    "prompt": "p",
    "stt": {"service": "deepgram"},
    "llm": {"service": "openai"},
    "tts": {"service": "openai"},
}
GOOD = Facts(
    server_url="http://127.0.0.1:8000",
    provider="twilio",
    agent_name="desk",
    is_ready=True,
    voice_url=VOICE_URL,
    public_base_url="https://voice.example.test",
    is_public_reachable=True,
    tunnel_url="https://voice.example.test",
    phone_number="+15005550006",
    number=CarrierNumber(number="+15005550006", number_id="PN1", voice_url=VOICE_URL + "#rc=2"),
    agent={"name": "desk", "kind": "pipeline", "enabled": True, "pipeline": PIPELINE},  # type: ignore[dict-item]
    environment={"DEEPGRAM_API_KEY": "x", "OPENAI_API_KEY": "y"},
)


def test_when_all_is_well_every_row_is_ok_and_advises_nothing() -> None:
    rows = [check(GOOD) for check in CHECKS]

    assert [(row.name, row.ok, row.advice) for row in rows if not row.ok or row.advice] == []
    assert len(rows) == 7


def with_number(url: str | None) -> Facts:
    return replace(GOOD, number=CarrierNumber(number="+1", number_id="PN1", voice_url=url))


@pytest.mark.parametrize(
    ("check", "facts", "words"),
    [
        (check_server, replace(GOOD, problems={"server": "connection refused"}), "trunkline serve"),
        (check_server, replace(GOOD, is_ready=False), "draining"),
        (check_base_url, replace(GOOD, public_base_url=None), "--tunnel"),
        (check_base_url, replace(GOOD, public_base_url="http://127.0.0.1:8000"), "https"),
        (
            check_base_url,
            replace(GOOD, tunnel_url="https://new.ngrok.app"),
            "https://new.ngrok.app",
        ),
        (check_public_address, replace(GOOD, is_public_reachable=False), "start the tunnel"),
        (
            check_public_address,
            replace(GOOD, is_public_reachable=False, public_base_url=None),
            "PUBLIC_BASE_URL",
        ),
        (
            check_credentials,
            replace(GOOD, missing_credentials=("TWILIO_AUTH_TOKEN",)),
            "TWILIO_AUTH_TOKEN",
        ),
        (check_credentials, replace(GOOD, problems={"credentials": "refused"}), "console"),
        (check_number, replace(GOOD, problems={"number": "unknown"}), "first"),
        (check_number, replace(GOOD, phone_number=None), "--number"),
        (check_number, replace(GOOD, number=None), "belongs"),
        (check_number, with_number(None), VOICE_URL),
        (check_number, with_number("https://demo.twilio.com/welcome"), VOICE_URL),
        (check_number, replace(GOOD, voice_url=None), "banner"),
        (check_agent, replace(GOOD, problems={"agent": "401"}), "mend"),
        (check_agent, replace(GOOD, agent=None), "agents create desk"),
        (check_agent, replace(GOOD, agent={"enabled": False}), "agents enable desk"),
        (check_keys, replace(GOOD, agent=None), "first"),
        (check_keys, replace(GOOD, environment={"OPENAI_API_KEY": "y"}), "DEEPGRAM_API_KEY"),
        (check_keys, replace(GOOD, agent={"pipeline": {"prompt": ""}}), "change the agent"),
    ],
)
def test_what_is_wrong_says_what_to_do(check: object, facts: Facts, words: str) -> None:
    row = check(facts)  # type: ignore[operator]

    assert not row.ok
    assert words in row.advice
    assert row.found


def test_a_module_needs_no_keys_that_we_know_of() -> None:
    assert check_keys(replace(GOOD, agent={"module": "bot.py", "pipeline": None})).ok


# the command, against a stand-in server and the simulated carrier


@pytest.fixture
def twilio(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwilioService]:
    """The simulated carrier, running in a thread, named by the environment."""
    started, stopping = threading.Event(), threading.Event()
    found: list[TwilioService] = []

    async def serve() -> None:
        async with TwilioSimulator().open(Setup()) as service:
            found.append(service)
            started.set()
            await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    for name, value in found[0].environment.items():
        monkeypatch.setenv(name, value)
    yield found[0]
    stopping.set()
    thread.join()


def everything_is_up(api: ApiServer) -> None:
    pattern = f"{api.url}/telephony/twilio/inbound/AGENT"
    agent = {"name": "desk", "kind": "module", "enabled": True, "pipeline": None}
    api.answers |= {
        ("GET", "/healthz"): (200, {"status": "ok"}),
        ("GET", "/readyz"): (200, {"status": "ready"}),
        ("GET", "/api/providers"): (200, [{"name": "twilio", "console": {"voice_url": pattern}}]),
        ("GET", "/api/agents"): (200, [agent]),
    }


def test_facts_are_found_where_they_are(
    run: Run, api: ApiServer, twilio: TwilioService, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_is_up(api)
    monkeypatch.setenv("PUBLIC_BASE_URL", api.url)
    twilio.numbers[0].voice_url = f"{api.url}/telephony/twilio/inbound/desk"
    result = run("doctor", "--agent", "desk", "--json")
    report = json.loads(result.stdout)

    # Plain http is right for a test on one machine and wrong for a carrier.
    assert [row["name"] for row in report["checks"] if not row["ok"]] == ["PUBLIC_BASE_URL"]
    assert (result.exit_code, report["ok"]) == (1, False)


def test_the_number_is_read_from_the_carrier(
    run: Run, api: ApiServer, twilio: TwilioService
) -> None:
    everything_is_up(api)
    twilio.numbers[0].voice_url = "https://demo.twilio.com/welcome"
    result = run("doctor", "--agent", "desk")

    assert "https://demo.twilio.com/welcome" in result.stdout
    assert f"set it to {api.url}/telephony/twilio/inbound/desk (POST)" in result.stdout


def test_wrong_credentials_are_found(
    run: Run, api: ApiServer, twilio: TwilioService, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_is_up(api)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "0" * 32)
    rows = json.loads(run("doctor", "--agent", "desk", "--json").stdout)["checks"]
    (row,) = [row for row in rows if row["name"] == "twilio credentials"]

    assert not row["ok"]
    assert "20003" in row["found"]


def test_with_nothing_at_all_every_row_still_says_something(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_URL", "http://127.0.0.1:1")
    result = run("doctor", "--agent", "desk", "--json")
    rows = json.loads(result.stdout)["checks"]

    assert result.exit_code == 1
    assert not any(row["ok"] for row in rows)
    assert all(row["found"] and row["advice"] for row in rows)


def test_a_key_that_is_refused_is_a_problem_of_the_agents_row(run: Run, api: ApiServer) -> None:
    everything_is_up(api)
    api.answers["GET", "/api/agents"] = refusal(
        401, "missing_proof", "no proof of origin was presented"
    )
    rows = json.loads(run("doctor", "--agent", "desk", "--json").stdout)["checks"]
    (row,) = [row for row in rows if row["name"] == "agent desk"]

    assert "TRUNKLINE_API_KEY" in row["found"]
