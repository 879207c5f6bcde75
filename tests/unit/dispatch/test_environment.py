from __future__ import annotations

from pathlib import Path

import pytest

from trunkline import carriers
from trunkline.dispatch.environment import (
    PRIVATE_NAMES,
    bot_environment,
    carrier_prefixes,
    process_environment,
    redact,
    without_secrets,
)


def test_bots_keep_their_own_keys_and_get_no_carriers_or_ours() -> None:
    ours = dict.fromkeys(PRIVATE_NAMES, "secret")
    carrier = {f"{prefix}AUTH_TOKEN": "secret" for prefix in carrier_prefixes()}
    kept = bot_environment(
        {"OPENAI_API_KEY": "sk", "PATH": "/bin", **ours, **carrier}, prefixes=carrier_prefixes()
    )
    assert kept["OPENAI_API_KEY"] == "sk"
    assert "secret" not in kept.values()


def test_every_carriers_variables_are_hidden() -> None:
    variables = {
        variable: "secret"
        for name in carriers.NAMES
        for variable in carriers.get(name).account.environment().values()
    }
    assert variables
    assert without_secrets(variables, prefixes=carrier_prefixes()) == {}


def test_numerical_libraries_start_no_threads_unless_told_to() -> None:
    assert bot_environment({}, prefixes=())["OPENBLAS_NUM_THREADS"] == "1"
    told = bot_environment({"OPENBLAS_NUM_THREADS": "4"}, prefixes=())
    assert told["OPENBLAS_NUM_THREADS"] == "4"


def test_the_process_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("FROM_FILE=1\nFROM_BOTH=file\n")
    monkeypatch.setenv("FROM_BOTH", "process")
    found = process_environment(file)
    assert (found["FROM_FILE"], found["FROM_BOTH"]) == ("1", "process")
    assert "FROM_FILE" not in process_environment(tmp_path / "absent")


def test_the_values_of_secrets_are_blanked() -> None:
    variables = {"SERVICE_API_KEY": "abcdef123", "SHORT_KEY": "abc", "HOME": "abcdef"}
    assert redact("bad key abcdef123 abc", variables) == "bad key <SERVICE_API_KEY> abc"


def test_the_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "tok-123456")
    assert redact("tok-123456") == "<SOME_TOKEN>"
