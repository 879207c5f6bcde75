from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.carriers.genesys.webhook import upgrade_nonce, verify_upgrade
from trunkline.errors import MissingProof
from trunkline.simulator.genesys.signing import Session, sign_upgrade
from trunkline.telephony.webhook import UpgradeRequest

CAPTURES = Path(__file__).parents[3] / "captures" / "genesys"
NONCE = "VGhpc0lzQVVuaXF1ZU5vbmNl"
SESSION = Session(
    api_key="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh",
    client_secret="TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=",
    organization_id="d7934305-0972-4844-938e-9060eef73d05",
    session_id="30b0e395-84d3-4570-ac13-9a62d8f514c0",
    correlation_id="e160e428-53e2-487c-977d-96989bf5c99d",
)


@pytest.mark.parametrize(
    "url",
    ["wss://h/ws/genesys/desk", "ws://127.0.0.1:8000/ws/genesys/desk?a=%20b&c", "wss://H:443/x"],
)
def test_our_server_takes_it(url: str) -> None:
    account = GenesysAccount.model_validate(
        {"api_key": SESSION.api_key, "client_secret": SESSION.client_secret}
    )
    headers = sign_upgrade(url, SESSION, nonce=NONCE, now_s=1000)
    request = UpgradeRequest(url=url, headers=list(headers.items()), received_at_s=1001.0)
    verify_upgrade(request, account)
    assert upgrade_nonce(request) == NONCE


def test_the_published_example_has_the_same_headers() -> None:
    captured = json.loads((CAPTURES / "upgrade_request.json").read_text(encoding="utf-8"))
    url = "wss://audiohook.example.com/api/v1/voicebiometrics/ws"
    headers = sign_upgrade(url, SESSION, nonce=NONCE, now_s=1_641_013_200)
    names = [name for name in headers if name not in ("Signature", "Signature-Input")]
    assert {name: headers[name] for name in names} == {
        name: captured["headers"][name] for name in names
    }
    # The same order, nonce and time; only that the example expires in the year 2074.
    ours, theirs = headers["Signature-Input"], captured["headers"]["Signature-Input"]
    assert ours.partition(";expires=")[0] == theirs.partition(";expires=")[0]


def test_without_a_secret_nothing_is_signed() -> None:
    session = Session(
        api_key="key", client_secret=None, organization_id="o", session_id="s", correlation_id="c"
    )
    headers = sign_upgrade("wss://h/x", session, nonce=NONCE, now_s=1)
    assert "Signature" not in headers
    request = UpgradeRequest(url="wss://h/x", headers=list(headers.items()))
    verify_upgrade(
        request, GenesysAccount.model_validate({"api_key": "key", "accept_unsigned": True})
    )
    with pytest.raises(MissingProof):
        verify_upgrade(request, GenesysAccount.model_validate({"api_key": "key"}))
