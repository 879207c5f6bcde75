from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from trunkline.settings import LONGEST_SOCKET_PATH, Settings, carrier_environment


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine and no .env of its folder counts."""
    for field, info in Settings.model_fields.items():
        monkeypatch.delenv(str(info.validation_alias or field).upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_the_defaults_serve_on_loopback_under_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, TRUNKLINE_HOME="home")
    home = Path("home").absolute()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.effective_database_url == f"sqlite+aiosqlite:///{home}/trunkline.db"
    assert settings.recordings_dir == home / "recordings"
    assert settings.journal_dir == home / "journal"
    assert settings.public_base_url is None
    assert settings.drain_timeout_s is None


def test_blank_lines_of_an_env_file_set_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["TRUNKLINE_SECRET_KEY", "DATABASE_URL", "DRAIN_TIMEOUT_S", "TRUNKLINE_PORT"]
    (tmp_path / ".env").write_text("".join(f"{name}=\n" for name in names))
    settings = load(monkeypatch)
    assert settings.trunkline_secret_key is None
    assert settings.database_url is None
    assert settings.port == 8000


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("TRUNKLINE_PORT=1\nTRUNKLINE_GATEWAYS=2\n")
    settings = load(monkeypatch, TRUNKLINE_PORT="9000")
    assert (settings.port, settings.gateways) == (9000, 2)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://voice.example.com", "https://voice.example.com"),
        ("https://voice.example.com:8443/trunk/", "https://voice.example.com:8443/trunk"),
        ("  https://voice.example.com/ ", "https://voice.example.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("  ", None),
    ],
)
def test_the_public_url(monkeypatch: pytest.MonkeyPatch, given: str, kept: str | None) -> None:
    assert load(monkeypatch, PUBLIC_BASE_URL=given).public_base_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "voice.example.com",
        "http://voice.example.com",
        "wss://voice.example.com",
        "https://",
        "https://voice.example.com/?a=b",
        "https://voice.example.com/#top",
        "https://user:pass@voice.example.com",
        "https://voice.example.com:port",
        'https://voice.example.com/"><Hangup/>',
        "https://voice.example.com/a b",
    ],
)
def test_what_is_no_public_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ValidationError, match="public_base_url"):
        load(monkeypatch, PUBLIC_BASE_URL=url)


def test_trusted_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.1,::1,")
    assert settings.trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("127.0.0.1/32"),
        ip_network("::1/128"),
    )
    with pytest.raises(ValidationError):
        load(monkeypatch, TRUSTED_PROXIES="everyone")


@pytest.mark.parametrize(
    "variable",
    [
        "TRUNKLINE_PORT=70000",
        "TRUNKLINE_GATEWAYS=0",
        "TRUNKLINE_LOG_FORMAT=xml",
        "TRUNKLINE_LOG_LEVEL=loud",
        "DRAIN_TIMEOUT_S=-1",
    ],
)
def test_values_out_of_range(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    name, value = variable.split("=")
    with pytest.raises(ValidationError):
        load(monkeypatch, **{name: value})


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, TRUNKLINE_SECRET_KEY="s3cret" * 8, TRUNKLINE_API_KEY="tk_s3cret")
    assert "s3cret" not in repr(settings)


def test_socket_paths_fit_what_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    near = load(monkeypatch, TRUNKLINE_HOME="/h")
    assert near.pool_socket == Path("/h/run/pool.sock")
    far = load(monkeypatch, TRUNKLINE_HOME=str(tmp_path / ("x" * 120)))
    assert len(str(far.handover_socket(63))) < 107
    assert len(str(far.run_dir)) <= LONGEST_SOCKET_PATH
    other = load(monkeypatch, TRUNKLINE_HOME=str(tmp_path / ("y" * 120)))
    assert far.run_dir != other.run_dir
    assert near.handover_socket(0) != near.handover_socket(1) != near.control_socket(1)


def test_carriers_variables_are_read_by_prefix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / "carriers.env"
    env_file.write_text("ACME_KEY=file\nACME_SID=file\nOTHER=x\nACME_BARE\n")
    monkeypatch.setenv("ACME_KEY", "environment")
    found = carrier_environment("ACME_", env_file)
    assert found == {"ACME_KEY": "environment", "ACME_SID": "file"}
    assert carrier_environment("ACME_", tmp_path / "gone") == {"ACME_KEY": "environment"}
