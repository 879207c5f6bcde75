from __future__ import annotations

import pytest

from trunkline.cli.configuration import load_settings
from trunkline.cli.serve import banner, check_no_auth, is_loopback
from trunkline.errors import ConfigError

from .conftest import Run


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - what must be refused
        ("::", False),
        ("192.168.1.2", False),
        ("voice.example.test", False),
        ("", False),
    ],
)
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_no_auth_is_refused_on_a_network(run: Run) -> None:
    result = run("serve", "--no-auth", "--host", "0.0.0.0")  # noqa: S104 - what must be refused

    assert result.exit_code == 1
    assert "--no-auth is for 127.0.0.1 only" in result.stderr


def test_no_auth_is_refused_whoever_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    check_no_auth(load_settings())
    monkeypatch.setenv("TRUNKLINE_HOST", "192.168.1.2")
    with pytest.raises(ConfigError):
        check_no_auth(load_settings())


def test_a_tunnel_needs_a_known_port(run: Run) -> None:
    result = run("serve", "--port", "0", "--tunnel", "ngrok")

    assert result.exit_code == 1
    assert "--port" in result.stderr


def test_the_banner_says_what_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://voice.example.test")
    text = "\n".join(banner(load_settings(), no_auth=False))

    assert "https://voice.example.test/telephony/twilio/inbound/AGENT" in text
    assert "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN" in text
    assert "PUBLIC_BASE_URL is not set" not in text
    assert "--no-auth" not in text


def test_the_banner_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", "nonsense")
    text = "\n".join(banner(load_settings(), no_auth=True))

    assert "PUBLIC_BASE_URL is not set" in text
    assert "--no-auth:" in text
    assert "TWILIO_ACCOUNT_SID:" in text
