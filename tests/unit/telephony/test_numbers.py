from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import InvalidNumber
from trunkline.telephony.numbers import parse_e164, redact, to_e164


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+14155550100", "+14155550100"),
        (" +1 (415) 555-0100 ", "+14155550100"),
        ("+49 30 901820", "+4930901820"),
        ("+919876543210", "+919876543210"),
        # Twilio's number for tests is not in service anywhere, and must pass.
        ("+15005550006", "+15005550006"),
    ],
)
def test_numbers(text: str, number: str) -> None:
    assert parse_e164(text, field="to_number") == number


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "+", "++", "+abc", "4155550100", "004930901820", "+1", "+1415555010012345678"),
        *("+999123456789", "sip:a@example.test", "anonymous", "+14155550100 ext. 5", "\x00"),
        "+" + "1" * 10000,
    ],
)
def test_what_is_none_is_refused_and_names_its_field(text: str) -> None:
    with pytest.raises(InvalidNumber) as caught:
        parse_e164(text, field="to_number")
    assert caught.value.field == "to_number"


@given(text=st.text() | st.from_regex(r"\+[0-9 ()-]{1,20}", fullmatch=True))
def test_any_text_gives_a_stable_number_or_the_error(text: str) -> None:
    try:
        number = parse_e164(text, field="to_number")
    except InvalidNumber:
        return
    assert number.startswith("+")
    assert number[1:].isascii()
    assert number[1:].isdigit()
    assert parse_e164(number, field="to_number") == number


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550100", "+141••••••00"),
        ("+123456", "+123•56"),
        ("+12345", "••••••"),
        ("", ""),
    ],
)
def test_redact(number: str, shown: str) -> None:
    assert redact(number) == shown


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("09876543210", "+919876543210"),
        ("9876543210", "+919876543210"),
        ("080 4709-1234", "+918047091234"),
        ("919876543210", "+919876543210"),
        ("+14155550100", "+14155550100"),
        ("00000", "00000"),
        ("", ""),
        ("anonymous", "anonymous"),
        ("sip:12345678@example.com", "sip:12345678@example.com"),
        ("1" * 40, "1" * 40),
        ("\u0661\u0662\u0663\u0664\u0665\u0666", "\u0661\u0662\u0663\u0664\u0665\u0666"),
    ],
)
def test_what_a_carrier_wrote_becomes_e164_where_it_can(text: str, number: str) -> None:
    assert to_e164(text, region="IN") == number
