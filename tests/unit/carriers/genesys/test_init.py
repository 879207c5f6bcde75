from __future__ import annotations

from pipecat.serializers.genesys import GenesysAudioHookSerializer

from trunkline.carriers.genesys import CARRIER
from trunkline.carriers.genesys.wire import FEWEST_MESSAGE_BYTES, MEDIA_FORMAT


def test_the_record_has_the_parts_that_genesys_has() -> None:
    assert CARRIER.name == "genesys"
    assert CARRIER.new_stream is not None
    assert CARRIER.verify_upgrade is not None
    assert CARRIER.upgrade_nonce is not None
    assert (CARRIER.webhook, CARRIER.markup, CARRIER.new_client) == (None, None, None)


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear) == (False, True)
    assert (features.dtmf_in, features.dtmf_out, features.amd) == (True, False, False)
    assert (features.hangs_up_by_close, features.closes_stream_itself) == (True, True)
    assert (features.resumes_stream, features.cold_transfer) == (False, False)
    assert list(features.received_encodings) == list(features.sent_encodings) == ["PCMU"]


def test_a_large_message_fits_into_what_is_sent_ahead() -> None:
    assert CARRIER.features.lead_ms >= 3 * MEDIA_FORMAT.duration_ms(FEWEST_MESSAGE_BYTES)


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    kind = GenesysAudioHookSerializer
    assert CARRIER.features.pipecat_serializer == f"{kind.__module__}.{kind.__qualname__}"
