from __future__ import annotations

from pipecat.serializers.twilio import TwilioFrameSerializer

from trunkline.carriers.twilio import CARRIER
from trunkline.carriers.twilio.rest import INLINE_MARKUP_CHARS


def test_the_record_has_every_part() -> None:
    assert CARRIER.name == "twilio"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.verify_upgrade, CARRIER.markup)
    assert None not in (*parts, CARRIER.new_client)


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in, features.dtmf_out) == (
        *(True, True, True),
        False,
    )
    assert features.answer_markup_inline_chars == INLINE_MARKUP_CHARS == 4000
    assert list(features.received_encodings) == list(features.sent_encodings) == ["PCMU"]


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    named = f"{TwilioFrameSerializer.__module__}.{TwilioFrameSerializer.__qualname__}"
    assert CARRIER.features.pipecat_serializer == named
