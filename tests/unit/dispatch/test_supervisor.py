from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.dispatch.supervisor import ExitStatus, Programs, run, settings_environment
from trunkline.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, field in Settings.model_fields.items():
        monkeypatch.delenv(str(field.validation_alias or name).upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_another_process_reads_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings.model_validate(
        {
            "trunkline_home": tmp_path,
            "trusted_proxies": "10.0.0.0/8,::1",
            "TRUNKLINE_PORT": 9000,
            "TRUNKLINE_GATEWAYS": 3,
            "drain_timeout_s": 2.5,
            "trunkline_secret_key": "k" * 40,
        }
    )
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_what_is_not_set_stays_unset() -> None:
    assert "PUBLIC_BASE_URL" not in settings_environment(Settings())


def test_every_exit_status_is_its_own() -> None:
    assert len({int(status) for status in ExitStatus}) == len(list(ExitStatus))
    assert ExitStatus.OK == 0


def test_an_address_of_another_machine_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"trunkline_home": tmp_path, "TRUNKLINE_HOST": "192.0.2.1", "TRUNKLINE_PORT": 0}
    )
    nothing = Programs(migrate=(), gateway=(), pool=(), front=())
    assert run(settings, programs=nothing) is ExitStatus.ADDRESS_UNAVAILABLE


def test_a_run_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    settings = Settings.model_validate({"trunkline_home": tmp_path, "TRUNKLINE_PORT": 0})
    settings.run_dir.symlink_to(tmp_path)
    assert run(settings) is ExitStatus.NOT_CONFIGURED
