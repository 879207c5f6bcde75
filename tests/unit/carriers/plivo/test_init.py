from __future__ import annotations

from pipecat.serializers.plivo import PlivoFrameSerializer

from trunkline.carriers.plivo import CARRIER


def test_the_record_has_every_part() -> None:
    assert CARRIER.name == "plivo"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.verify_upgrade, CARRIER.markup)
    assert None not in (*parts, CARRIER.new_client)
    webhook = CARRIER.require_webhook()
    assert None not in (webhook.nonce, webhook.is_report)


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in, features.dtmf_out) == (
        *(True, True, True),
        True,
    )
    assert features.answer_markup_inline_chars is None
    assert features.resumes_stream_by_same_url


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    named = f"{PlivoFrameSerializer.__module__}.{PlivoFrameSerializer.__qualname__}"
    assert CARRIER.features.pipecat_serializer == named
