from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.markup import MARKUP, account_markup
from trunkline.telephony.carrier import StreamConnect

CAPTURES = Path(__file__).parents[3] / "captures" / "vobiz"


def captured(name: str, path: str) -> ElementTree.Element:
    found = ElementTree.parse(CAPTURES / name).find(path)  # noqa: S314 - a capture
    assert found is not None
    return found


def stream_of(body: bytes) -> ElementTree.Element:
    found = ElementTree.fromstring(body).find("Stream")  # noqa: S314 - our own
    assert found is not None
    return found


def test_the_captured_stream_has_the_same_attributes() -> None:
    theirs = captured("answer_stream_mulaw.xml", "Stream")
    connect = StreamConnect(
        stream_url=theirs.text or "", stream_status_url=theirs.attrib["statusCallbackUrl"]
    )
    ours = stream_of(MARKUP.connect(connect).body)
    assert ours.text == theirs.text
    assert ours.attrib == {
        **{name: value for name, value in theirs.attrib.items() if name != "streamTimeout"},
        "maxRetries": "0",
    }


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("PCMU", "audio/x-mulaw;rate=8000"),
        ("L16/8000", "audio/x-l16;rate=8000"),
        ("L16/16000", "audio/x-l16;rate=16000"),
    ],
)
def test_an_account_chooses_the_encoding(encoding: str, content_type: str) -> None:
    markup = account_markup(VobizAccount.model_validate({"stream_encoding": encoding}))
    stream = stream_of(markup.connect(StreamConnect(stream_url="wss://x/")).body)
    assert stream.get("contentType") == content_type
    if encoding == "L16/16000":
        theirs = captured("answer_stream_l16.xml", "Stream").attrib
        assert theirs.items() <= stream.attrib.items()


def test_reject_and_forward_have_the_captured_shapes() -> None:
    reject = ElementTree.fromstring(MARKUP.reject().body).find("Hangup")  # noqa: S314 - our own
    assert reject is not None
    assert reject.attrib == {"reason": "busy"}
    assert set(reject.attrib) == set(captured("reject.xml", "Hangup").attrib)
    theirs = captured("transfer_dial.xml", "Dial")
    document = MARKUP.forward("+919812345678", caller_id="+911171366941")
    ours = ElementTree.fromstring(document.body).find("Dial")  # noqa: S314 - our own
    assert ours is not None
    assert ours.attrib.items() <= theirs.attrib.items()
    assert ours.findtext("Number") == theirs.findtext("Number")
