from __future__ import annotations

from pipecat.serializers.vonage import VonageFrameSerializer

from trunkline.carriers.vonage import CARRIER
from trunkline.carriers.vonage.account import VonageAccount
from trunkline.telephony.carrier import StreamConnect


def test_the_record_has_every_part() -> None:
    assert CARRIER.name == "vonage"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.verify_upgrade, CARRIER.markup)
    assert None not in (*parts, CARRIER.new_client, CARRIER.account_markup)
    assert CARRIER.webhook is not None
    assert CARRIER.webhook.is_report is not None


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in, features.dtmf_out) == (
        *(True, True, True),
        False,
    )
    assert not features.announces_stop
    assert features.answer_markup_inline_chars is None
    assert list(features.received_encodings) == list(features.sent_encodings) == ["L16"]


def test_an_accounts_settings_count_in_its_markup() -> None:
    connect = StreamConnect(stream_url="wss://voice.example.test/ws/vonage/desk/t")
    account = VonageAccount(sample_rate_hz=8000, signed_upgrades=False)
    default = CARRIER.require_markup().connect(connect).body
    theirs = CARRIER.require_markup(account).connect(connect).body
    assert b"audio/l16;rate=16000" in default
    assert b"authorization" in default
    assert b"audio/l16;rate=8000" in theirs
    assert b"authorization" not in theirs


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    named = f"{VonageFrameSerializer.__module__}.{VonageFrameSerializer.__qualname__}"
    assert CARRIER.features.pipecat_serializer == named
