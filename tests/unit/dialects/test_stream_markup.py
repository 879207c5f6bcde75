from __future__ import annotations

from urllib.parse import parse_qsl
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.dialects.stream_markup import STREAM_URL_CHARS, StreamMarkup
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

MARKUP = StreamMarkup(
    stream_attributes={"maxRetries": "0"}, dialled=lambda number: number.removeprefix("+")
)
STREAM_URL = "wss://voice.example.test/ws/carrier/front-desk/token"


def parse(document: Document) -> Element:
    assert (document.status, document.content_type) == (200, "application/xml")
    return ElementTree.fromstring(document.body)  # noqa: S314 - our own


def stream_of(document: Document) -> Element:
    stream = parse(document).find("Stream")
    assert stream is not None
    return stream


def test_connect_with_nothing_but_a_stream() -> None:
    document = MARKUP.connect(StreamConnect(stream_url=STREAM_URL))
    assert [element.tag for element in parse(document)] == ["Stream"]
    stream = stream_of(document)
    assert stream.text == STREAM_URL
    assert stream.attrib == {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "audioTrack": "inbound",
        "contentType": "audio/x-mulaw;rate=8000",
        "maxRetries": "0",
    }


def test_parameters_are_the_query() -> None:
    parameters = {"agent_name": "front-desk", "note": "a <b> & \"c\" 'd' ü 日本 🙂\n=;,"}
    stream = stream_of(MARKUP.connect(StreamConnect(stream_url=STREAM_URL, parameters=parameters)))
    address, _, query = (stream.text or "").partition("?")
    assert address == STREAM_URL
    assert dict(parse_qsl(query)) == parameters
    assert query.isascii()


def test_parameters_join_a_query_that_is_there() -> None:
    connect = StreamConnect(stream_url=f"{STREAM_URL}?x=1", parameters={"a": "b"})
    assert stream_of(MARKUP.connect(connect)).text == f"{STREAM_URL}?x=1&a=b"


def test_a_url_never_gets_too_long() -> None:
    parameters = {"long": "x" * 900, "longer": "y" * 900, "longest": "z" * 900, "short": "1"}
    assert all(MARKUP.fits(name, value) for name, value in parameters.items())
    text = stream_of(
        MARKUP.connect(StreamConnect(stream_url=STREAM_URL, parameters=parameters))
    ).text
    assert text is not None
    assert len(text) <= STREAM_URL_CHARS
    assert list(dict(parse_qsl(text.partition("?")[2]))) == ["long", "longer", "short"]


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("a", "x" * 998, True),
        ("a", "x" * 999, False),
        ("a", "ü" * 200, False),
        ("a", "\ud800", False),
    ],
)
def test_which_parameters_fit(name: str, value: str, fits: bool) -> None:
    assert MARKUP.fits(name, value) is fits


def test_forward() -> None:
    dial = parse(MARKUP.forward("+14155550199", caller_id="+13125550123")).find("Dial")
    assert dial is not None
    assert dial.attrib == {"timeout": "30", "callerId": "13125550123"}
    assert dial.findtext("Number") == "14155550199"


@pytest.mark.parametrize("address", ["sip:a@example.test", "sips:a@example.test"])
def test_forward_to_a_sip_address(address: str) -> None:
    dial = parse(MARKUP.forward(address)).find("Dial")
    assert dial is not None
    assert (dial.attrib, dial.findtext("User")) == ({"timeout": "30"}, address)


def test_what_xml_cannot_carry_is_left_out() -> None:
    text = "a\x00b\x0bc\ud800d\uffffe\tf"
    response = parse(
        MARKUP.connect(
            StreamConnect(stream_url="wss://x/\x00", continue_url=text, stream_status_url=text)
        )
    )
    assert response.findtext("Stream") == "wss://x/"
    assert response.findtext("Redirect") == "abcde\tf"


@given(parameters=st.dictionaries(st.text(), st.text(), max_size=4), said=st.text())
def test_any_text_gives_a_well_formed_document(parameters: dict[str, str], said: str) -> None:
    document = MARKUP.connect(
        StreamConnect(stream_url=STREAM_URL, parameters=parameters, stream_status_url=said)
    )
    fitting = all(MARKUP.fits(name, value) for name, value in parameters.items())
    query = (stream_of(document).text or "").partition("?")[2]
    found = dict(parse_qsl(query, keep_blank_values=True))
    assert not fitting or sum(map(len, found)) <= sum(map(len, parameters))
    assert [element.tag for element in parse(MARKUP.say(said))] == ["Speak", "Hangup"]
    assert len(parse(MARKUP.forward(said, caller_id=said))) == 1
