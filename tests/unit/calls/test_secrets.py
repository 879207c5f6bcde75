from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trunkline.calls.secrets import CredentialCipher, derive_key, load_secret
from trunkline.errors import ConfigError

FIELDS = {"auth_token": "s3cret", "account_sid": "AC1"}


def test_credentials_are_sealed_and_opened() -> None:
    cipher = CredentialCipher(b"one secret")
    sealed = cipher.encrypt(FIELDS)
    assert b"s3cret" not in sealed
    assert b"AC1" not in sealed
    assert cipher.decrypt(sealed) == FIELDS


def test_another_secret_opens_nothing_and_says_what_to_do() -> None:
    sealed = CredentialCipher(b"one secret").encrypt(FIELDS)
    with pytest.raises(ConfigError, match=r"TRUNKLINE_SECRET_KEY.*store them again") as caught:
        CredentialCipher(b"another").decrypt(sealed)
    assert caught.value.field == "TRUNKLINE_SECRET_KEY"


def test_each_purpose_has_its_own_key() -> None:
    assert derive_key(b"s", "credentials") != derive_key(b"s", "stream tokens")
    assert len(derive_key(b"s", "credentials")) == 32


def test_a_configured_secret_is_taken_as_it_is(tmp_path: Path) -> None:
    assert load_secret("x" * 32, tmp_path) == b"x" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="32"):
        load_secret("short", tmp_path)


def test_a_made_secret_stays_and_is_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = load_secret(None, home)
    assert load_secret(None, home) == made
    assert len(made) >= 32
    assert (home / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["secret.key"]


def test_an_emptied_file_is_said_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("")
    with pytest.raises(ConfigError, match=r"secret\.key"):
        load_secret(None, tmp_path)


def test_first_starts_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda home: load_secret(None, home), [tmp_path / "home"] * 32))
    assert len(secrets) == 1
