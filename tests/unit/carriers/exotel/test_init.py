from __future__ import annotations

from pipecat.serializers.exotel import ExotelFrameSerializer

from trunkline.carriers.exotel import CARRIER
from trunkline.carriers.exotel.wire import MESSAGE_MS


def test_the_record_has_every_part() -> None:
    assert CARRIER.name == "exotel"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.verify_upgrade, CARRIER.markup)
    assert None not in (*parts, CARRIER.new_client)


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in) == (True, True, True)
    assert (features.dtmf_out, features.amd, features.cold_transfer) == (False, False, False)
    assert (features.hangs_up_by_close, features.connects_by_event) == (True, True)
    assert not features.proof_covers_url
    assert not features.resumes_stream
    assert list(features.received_encodings) == list(features.sent_encodings) == ["L16"]
    assert features.longest_call_s == 3600


def test_a_message_is_under_way_while_the_next_is_made() -> None:
    assert 3 * MESSAGE_MS <= CARRIER.features.lead_ms <= 5 * MESSAGE_MS


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    named = f"{ExotelFrameSerializer.__module__}.{ExotelFrameSerializer.__qualname__}"
    assert CARRIER.features.pipecat_serializer == named
