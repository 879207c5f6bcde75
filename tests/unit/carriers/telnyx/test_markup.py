from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from trunkline.carriers.telnyx.account import TelnyxAccount
from trunkline.carriers.telnyx.markup import TelnyxMarkup, account_markup
from trunkline.carriers.telnyx.wire import MEDIA_PARAMETER, Media
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document

CAPTURES = Path(__file__).parents[3] / "captures" / "telnyx"

STREAM = StreamConnect(
    stream_url="wss://voice.example.test/telephony/telnyx/ws/tok_0123",
    parameters={"run_id": "42"},
    continue_url="https://voice.example.test/telephony/telnyx/continue/1?a=1&b=2",
    stream_status_url="https://voice.example.test/telephony/telnyx/stream",
)


def parse(document: Document) -> Element:
    assert document.status == 200
    assert document.content_type == "application/xml"
    return ElementTree.fromstring(document.body)  # noqa: S314 - our own


def stream_of(document: Document) -> Element:
    stream = parse(document).find("Connect/Stream")
    assert stream is not None
    return stream


def test_connect_is_what_was_captured_but_for_the_stream_s_name() -> None:
    captured = ElementTree.parse(CAPTURES / "texml_connect_stream.xml")  # noqa: S314 - our own
    expected = captured.find("Connect/Stream")
    assert expected is not None
    stream = stream_of(TelnyxMarkup().connect(STREAM))
    assert stream.attrib == {
        name: value for name, value in expected.attrib.items() if name != "name"
    }
    assert [child.attrib for child in stream] == [{"name": "run_id", "value": "42"}]


def test_the_call_goes_on_after_the_stream() -> None:
    verbs = list(parse(TelnyxMarkup().connect(STREAM)))
    assert [verb.tag for verb in verbs] == ["Connect", "Redirect"]
    assert (verbs[1].text, verbs[1].attrib) == (STREAM.continue_url, {"method": "POST"})


@pytest.mark.parametrize(
    ("media", "codec", "rate"),
    [
        ("PCMU", "PCMU", None),
        ("PCMA", "PCMA", None),
        ("L16-big", "L16", "16000"),
        ("L16-little", "L16", "16000"),
    ],
)
def test_the_account_decides_what_the_stream_carries(
    media: str, codec: str, rate: str | None
) -> None:
    account = TelnyxAccount.model_validate({"media": media})
    stream = stream_of(account_markup(account).connect(STREAM))
    assert (stream.get("codec"), stream.get("bidirectionalCodec")) == (codec, codec)
    assert stream.get("bidirectionalSamplingRate") == rate
    parameters = {child.attrib["name"]: child.attrib["value"] for child in stream}
    told = {} if media == Media.PCMU else {MEDIA_PARAMETER: media}
    assert parameters == {"run_id": "42"} | told


def test_a_transfer_is_what_was_captured() -> None:
    captured = ElementTree.parse(CAPTURES / "texml_dial_transfer.xml")  # noqa: S314 - our own
    expected = captured.find("Dial")
    dial = parse(TelnyxMarkup().forward("+14155550199", caller_id="+13125550123")).find("Dial")
    assert dial is not None
    assert expected is not None
    assert dial.findtext("Number") == expected.findtext("Number")
    assert dial.attrib == {name: expected.attrib[name] for name in ("callerId", "timeout")}
