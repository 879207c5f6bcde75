from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.audio import read_wav, tone, wav_header
from trunkline.cli.ringing import describe, new_script
from trunkline.errors import ConfigError, InvalidRequest
from trunkline.simulator.caller import (
    BotFinished,
    BotSpoke,
    CallerHungUp,
    CallerPressed,
    CallerSaid,
    HangUp,
    Press,
    Say,
    WaitForBotSilence,
)

from .conftest import Run


def write_wav(file: Path, *, channels: int = 1) -> Path:
    pcm = tone(440, 100, 16000) * channels
    header = wav_header(channels=channels, sample_rate_hz=16000, data_bytes=len(pcm))
    file.write_bytes(header + pcm)
    return file


def test_the_caller_listens_before_and_after_everything() -> None:
    steps = new_script(sentences=["hello", "bye"], files=[], keys=["1"])
    kinds = [type(step) for step in steps]

    assert kinds == [
        WaitForBotSilence, Say, WaitForBotSilence, Say,
        WaitForBotSilence, Press, WaitForBotSilence, HangUp,
    ]  # fmt: skip


def test_keys_of_one_entry_follow_one_another() -> None:
    steps = new_script(sentences=[], files=[], keys=["12", "a"])

    assert steps[1:4] == [Press(digit="1"), Press(digit="2"), Press(digit="A")]
    assert isinstance(steps[4], WaitForBotSilence)


def test_a_file_is_played_at_its_own_rate(tmp_path: Path) -> None:
    _, step, *_ = new_script(sentences=[], files=[write_wav(tmp_path / "in.wav")], keys=[])

    assert isinstance(step, Say)
    assert (step.text, step.sample_rate_hz, len(step.pcm16)) == ("in.wav", 16000, 3200)


def test_what_cannot_be_played_or_pressed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_text("no")
    stereo = write_wav(tmp_path / "stereo.wav", channels=2)
    for file in (tmp_path / "none.wav", tmp_path / "no.wav", stereo):
        with pytest.raises(ConfigError, match=file.name):
            new_script(sentences=[], files=[file], keys=[])
    with pytest.raises(InvalidRequest, match="--dtmf"):
        new_script(sentences=[], files=[], keys=["12x"])


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (CallerSaid(at_ms=1500, text="hi"), "   1.50 s  caller  hi"),
        (CallerSaid(at_ms=0, text=""), "   0.00 s  caller  (audio)"),
        (CallerPressed(at_ms=20, digit="#"), "   0.02 s  caller  [key #]"),
        (BotSpoke(at_ms=20), "   0.02 s  bot     speaks"),
        (BotSpoke(at_ms=20, response_ms=740), "   0.02 s  bot     answers after 740 ms"),
        (BotFinished(at_ms=20), "   0.02 s  bot     is silent"),
        (BotFinished(at_ms=20, interrupted=True), "   0.02 s  bot     stops: interrupted"),
        (CallerHungUp(at_ms=20), "   0.02 s  caller  hangs up"),
    ],
)
def test_events_read_as_lines(event: object, line: str) -> None:
    assert describe(event) == line  # type: ignore[arg-type]


def test_without_credentials_nobody_is_rung(run: Run) -> None:
    result = run("call", "--agent", "desk")

    assert result.exit_code == 1
    assert "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in result.stderr


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "AC" + "1" * 32)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "t" * 32)


@pytest.mark.usefixtures("credentials")
def test_a_server_that_is_not_there_is_the_carriers_error(run: Run) -> None:
    result = run("call", "--agent", "desk", "--url", "http://127.0.0.1:1", "--json")
    report = json.loads(result.stdout)

    assert result.exit_code == 1
    assert [each["code"] for each in report["violations"]] == ["11210"]
    assert report["webhooks"][0]["url"] == "http://127.0.0.1:1/telephony/twilio/inbound/desk"
    assert "recording" not in report


@pytest.mark.usefixtures("credentials")
def test_the_recording_is_written(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "out.wav"
    result = run("call", "--agent", "desk", "--url", "http://127.0.0.1:1", "--record", str(file))

    assert read_wav(file).channels == 2
    assert "carrier's error 11210" in result.stderr


@pytest.mark.usefixtures("credentials")
def test_an_address_that_is_none_is_refused(run: Run) -> None:
    assert "is no URL" in run("call", "--agent", "desk", "--url", "voice").stderr
