from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.carriers.genesys.account import GenesysAccount
from trunkline.carriers.genesys.webhook import LONGEST_AGE_S, upgrade_nonce, verify_upgrade
from trunkline.errors import MissingProof, SignatureError
from trunkline.telephony.webhook import UpgradeRequest

CAPTURES = Path(__file__).parents[3] / "captures" / "genesys"
VECTORS = json.loads((CAPTURES / "signatures.json").read_text(encoding="utf-8"))
CASES = VECTORS["cases"]

API_KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = base64.b64encode(b"a secret of the integration").decode()
ORGANIZATION = "d7934305-0972-4844-938e-9060eef73d05"
NOW_S = 1_767_225_600
URL = "wss://voice.example.test/ws/genesys/front-desk?lang=en%20US"
COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
ACCOUNT = GenesysAccount.model_validate({"api_key": API_KEY, "client_secret": SECRET})


def vector_account(case: dict[str, Any]) -> GenesysAccount:
    fields = {"api_key": API_KEY}
    if case.get("client_secret_b64"):
        return GenesysAccount.model_validate({**fields, "client_secret": case["client_secret_b64"]})
    return GenesysAccount.model_validate({**fields, "accept_unsigned": True})


def vector_upgrade(case: dict[str, Any]) -> UpgradeRequest:
    return UpgradeRequest(
        url=f"wss://{case['authority']}{case['request_target']}",
        headers=list(case["headers"].items()),
        received_at_s=case["now"],
    )


def signed(
    *,
    url: str = URL,
    components: tuple[str, ...] = COMPONENTS,
    parameters: str | None = None,
    created: int = NOW_S,
    headers: tuple[tuple[str, str], ...] = (),
    label: str = "sig1",
) -> UpgradeRequest:
    """Sign as Genesys does, written after its description and without our own code."""
    names = {
        "audiohook-organization-id": ORGANIZATION,
        "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
        "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
        "x-api-key": API_KEY,
    }
    authority, _, target = url.removeprefix("wss://").partition("/")
    values = {"@request-target": f"/{target}", "@authority": authority.lower(), **names}
    if parameters is None:
        parameters = (
            f';keyid="{API_KEY}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256"'
            f";created={created};expires={created + 10}"
        )
    signed_input = "(" + " ".join(f'"{name}"' for name in components) + ")" + parameters
    lines = [f'"{name}": {values.get(name, "")}' for name in components]
    lines.append(f'"@signature-params": {signed_input}')
    mac = hmac.new(base64.b64decode(SECRET), "\n".join(lines).encode(), hashlib.sha256).digest()
    return UpgradeRequest(
        url=url,
        headers=[
            *names.items(),
            ("Signature-Input", f"{label}={signed_input}"),
            ("Signature", f"{label}=:{base64.b64encode(mac).decode()}:"),
            *headers,
        ],
        received_at_s=NOW_S,
    )


def with_header(request: UpgradeRequest, name: str, value: str) -> UpgradeRequest:
    others = [pair for pair in request.headers if pair[0].lower() != name.lower()]
    return replace(request, headers=[*others, (name, value)])


def parameters(**changes: str | int | None) -> str:
    fields: dict[str, str | int | None] = {
        "keyid": API_KEY,
        "nonce": "VGhpc0lzQVVuaXF1ZU5vbmNl",
        "alg": "hmac-sha256",
        "created": NOW_S,
        "expires": NOW_S + 10,
        **changes,
    }
    return "".join(
        f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"'
        for name, value in fields.items()
        if value is not None
    )


def test_the_capture_has_both_kinds_of_case() -> None:
    assert {case["valid"] for case in CASES} == {True, False}
    assert VECTORS["max_age_s"] == LONGEST_AGE_S


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_signature_vectors(case: dict[str, Any]) -> None:
    account, upgrade = vector_account(case), vector_upgrade(case)
    if case.get("requires_nonce_cache"):
        # Right by itself; its nonce is that of an earlier case, which is for the front to notice.
        verify_upgrade(upgrade, account)
        nonce = upgrade_nonce(upgrade)
        assert nonce is not None
        assert nonce in {
            upgrade_nonce(vector_upgrade(other))
            for other in CASES
            if other["valid"] and other is not case
        }
    elif case["valid"]:
        verify_upgrade(upgrade, account)
    else:
        with pytest.raises((SignatureError, MissingProof)):
            verify_upgrade(upgrade, account)


def test_the_published_example() -> None:
    captured = json.loads((CAPTURES / "upgrade_request.json").read_text(encoding="utf-8"))
    headers = captured["headers"]
    upgrade = UpgradeRequest(
        url=f"wss://{headers['Host']}{captured['request_line'].split()[1]}",
        headers=list(headers.items()),
        received_at_s=1_641_013_205,
    )
    verify_upgrade(upgrade, vector_account(CASES[0]))
    assert upgrade_nonce(upgrade) == "VGhpc0lzQVVuaXF1ZU5vbmNl"


def test_a_good_one() -> None:
    verify_upgrade(signed(), ACCOUNT)
    assert upgrade_nonce(signed()) == "VGhpc0lzQVVuaXF1ZU5vbmNl"


@pytest.mark.parametrize(
    "url",
    [
        "wss://Voice.Example.test/ws/genesys/desk",
        "wss://voice.example.test:8443/ws/genesys/desk?a=1&b=%2F",
        "wss://voice.example.test/ws/genesys/desk?",
        "wss://voice.example.test/ws//genesys/%7Edesk",
    ],
)
def test_urls_are_signed_byte_for_byte(url: str) -> None:
    verify_upgrade(signed(url=url), ACCOUNT)
    with pytest.raises(SignatureError):
        verify_upgrade(replace(signed(url=url), url=url + "x"), ACCOUNT)


def test_the_default_port_is_left_out() -> None:
    with_port = replace(signed(), url=URL.replace(".test/", ".test:443/"))
    verify_upgrade(with_port, ACCOUNT)


def test_any_order_is_right() -> None:
    verify_upgrade(signed(components=COMPONENTS[::-1]), ACCOUNT)


def test_the_label_is_free() -> None:
    verify_upgrade(signed(label="genesys.1"), ACCOUNT)
    one = signed()
    told = str(one.header("Signature"))
    verify_upgrade(with_header(one, "Signature", f"other=:AAAA:, {told}"), ACCOUNT)


def test_repeated_and_folded_headers_are_read_as_one() -> None:
    one = signed()
    name = "audiohook-correlation-id"
    folded = with_header(one, name, "  e160e428-53e2-487c-977d-96989bf5c99d \t")
    verify_upgrade(folded, ACCOUNT)
    with pytest.raises(SignatureError):
        verify_upgrade(replace(one, headers=[*one.headers, (name, "more")]), ACCOUNT)


def test_an_api_key_is_always_needed() -> None:
    one = signed()
    without = replace(one, headers=[pair for pair in one.headers if pair[0] != "x-api-key"])
    for account in (ACCOUNT, vector_account({})):
        with pytest.raises(MissingProof):
            verify_upgrade(without, account)
        with pytest.raises(SignatureError):
            verify_upgrade(with_header(one, "x-api-key", "another"), account)
    with pytest.raises(SignatureError):
        verify_upgrade(one, GenesysAccount())


@pytest.mark.parametrize("name", ["Signature", "Signature-Input"])
def test_half_a_signature_is_none(name: str) -> None:
    one = signed()
    without = replace(one, headers=[pair for pair in one.headers if pair[0] != name])
    with pytest.raises(MissingProof):
        verify_upgrade(without, ACCOUNT)


def test_without_a_secret_the_key_is_enough_if_the_account_says_so() -> None:
    unsigned = UpgradeRequest(url=URL, headers=[("X-API-KEY", API_KEY)])
    verify_upgrade(unsigned, vector_account({}))
    assert upgrade_nonce(unsigned) is None
    with pytest.raises(MissingProof):
        verify_upgrade(unsigned, GenesysAccount.model_validate({"api_key": API_KEY}))
    both = GenesysAccount.model_validate(
        {"api_key": API_KEY, "client_secret": SECRET, "accept_unsigned": True}
    )
    with pytest.raises(MissingProof):
        verify_upgrade(unsigned, both)
    # A signature that cannot be checked is not taken on trust.
    with pytest.raises(SignatureError):
        verify_upgrade(signed(), vector_account({}))


def test_the_organisation_can_be_fixed() -> None:
    secrets = {"api_key": API_KEY, "client_secret": SECRET}
    verify_upgrade(
        signed(), GenesysAccount.model_validate({**secrets, "organization_id": ORGANIZATION})
    )
    other = ORGANIZATION.replace("d", "e")
    with pytest.raises(SignatureError):
        verify_upgrade(
            signed(), GenesysAccount.model_validate({**secrets, "organization_id": other})
        )


@pytest.mark.parametrize(
    ("age_s", "is_right"), [(0, True), (10, True), (-3, True), (10.5, False), (-3.5, False)]
)
def test_age(age_s: float, is_right: bool) -> None:
    request = replace(
        signed(parameters=parameters(expires=NOW_S + 60)), received_at_s=NOW_S + age_s
    )
    if is_right:
        verify_upgrade(request, ACCOUNT)
        return
    with pytest.raises(SignatureError):
        verify_upgrade(request, ACCOUNT)


def test_a_clock_that_nobody_set_refuses_everything() -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(replace(signed(), received_at_s=0.0), ACCOUNT)


def test_expiry_is_optional() -> None:
    verify_upgrade(signed(parameters=parameters(expires=None)), ACCOUNT)


@pytest.mark.parametrize(
    "told",
    [
        parameters(keyid="another"),
        parameters(keyid=None),
        parameters(nonce="short"),
        parameters(nonce=None),
        parameters(nonce=5),
        parameters(alg="hmac-sha512"),
        parameters(alg=None),
        parameters(created=None),
        parameters(created="now"),
        parameters(expires=NOW_S),
        parameters(expires="later"),
        parameters(tag="x"),
        parameters() + f";created={NOW_S}",
        ";broken",
        parameters() + " ",
        "",
    ],
)
def test_parameters_that_are_refused(told: str) -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(signed(parameters=told + ("" if told.strip() else ";x")), ACCOUNT)


@pytest.mark.parametrize(
    "components",
    [
        (),
        COMPONENTS[:-1],
        (*COMPONENTS, "x-api-key"),
        (*COMPONENTS, "user-agent"),
        (*COMPONENTS, "@signature-params"),
        (*COMPONENTS[:-1], "host"),
    ],
)
def test_components_that_are_refused(components: tuple[str, ...]) -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(signed(components=components), ACCOUNT)


@pytest.mark.parametrize(
    "value", ["", "sig1", "sig1=:%%:", "sig1=:YQ:", "sig2=:YQ==:", "sig1=:\u20ac:"]
)
def test_signatures_that_cannot_be_read(value: str) -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(with_header(signed(), "Signature", value), ACCOUNT)


def test_escapes_in_strings_are_kept_as_they_were_signed() -> None:
    nonce = 'a nonce with \\"quotes\\" and \\\\'
    request = signed(parameters=parameters(nonce=nonce))
    verify_upgrade(request, ACCOUNT)
    assert upgrade_nonce(request) == 'a nonce with "quotes" and \\'


def test_a_url_that_cannot_be_read() -> None:
    with pytest.raises(SignatureError):
        verify_upgrade(replace(signed(), url="wss://[broken/ws"), ACCOUNT)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Signature-Input", "signature", "x-api-key", "audiohook-session-id"]),
            st.one_of(
                st.text(max_size=30),
                st.from_regex(r'sig1=\("[@a-z-]{0,9}"( "x")?\)(;nonce="[^"]{0,9}")?.{0,5}'),
                st.just(API_KEY),
            ),
        ),
        max_size=6,
    ),
    st.text(max_size=30),
)
def test_whatever_comes_is_refused(headers: list[tuple[str, str]], url: str) -> None:
    request = UpgradeRequest(url=url, headers=headers, received_at_s=NOW_S)
    with pytest.raises((SignatureError, MissingProof)):
        verify_upgrade(request, ACCOUNT)
    upgrade_nonce(request)


@given(st.integers(min_value=0), st.characters())
def test_no_changed_character_goes_unnoticed(at: int, character: str) -> None:
    """Of the two headers that make the signature."""
    one = signed()
    for name in ("Signature-Input", "Signature"):
        value = str(one.header(name))
        where = at % len(value)
        changed = value[:where] + character + value[where + 1 :]
        if changed == value:
            continue
        with pytest.raises((SignatureError, MissingProof)):
            verify_upgrade(with_header(one, name, changed), ACCOUNT)
