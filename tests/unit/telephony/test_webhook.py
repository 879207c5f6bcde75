from __future__ import annotations

import dataclasses

import pytest

from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest, header


def request(url: str = "https://a.test/", **headers: str) -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=url,
        headers=[(name.replace("_", "-"), value) for name, value in headers.items()],
    )


def test_headers_are_found_in_any_case_and_the_first_one_counts() -> None:
    headers = [("X-Signature", "1"), ("x-signature", "2"), ("Other", "")]
    assert header(headers, "x-SIGNATURE") == "1"
    assert header(headers, "other") == ""
    assert header(headers, "absent") is None
    assert UpgradeRequest(url="wss://a.test/", headers=headers).header("X-Signature") == "1"


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        ("application/json", "application/json"),
        ("Application/X-WWW-Form-Urlencoded ; charset=UTF-8", "application/x-www-form-urlencoded"),
        ("", ""),
    ],
)
def test_content_type(value: str, content_type: str) -> None:
    assert request(Content_Type=value).content_type == content_type
    assert request().content_type == ""


def test_query_keeps_order_duplicates_and_blanks() -> None:
    parsed = request("https://a.test/x?b=2&a=%2B1&b=1&c=&d#e=5").query
    assert parsed == [("b", "2"), ("a", "+1"), ("b", "1"), ("c", ""), ("d", "")]


def test_requests_cannot_be_changed_after_they_were_verified() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        request().body = b"x"  # pyright: ignore[reportAttributeAccessIssue] - what the test is about


def test_a_document_is_a_success_unless_it_says_otherwise() -> None:
    assert Document(content_type="text/plain", body=b"").status == 200
