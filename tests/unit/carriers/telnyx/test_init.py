from __future__ import annotations

from pipecat.serializers.telnyx import TelnyxFrameSerializer

from trunkline.carriers.telnyx import CARRIER
from trunkline.carriers.telnyx.account import TelnyxAccount


def test_the_record_has_every_part_but_signed_upgrades() -> None:
    assert CARRIER.name == "telnyx"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.markup, CARRIER.account_markup)
    assert None not in (*parts, CARRIER.new_client, CARRIER.new_call_control)
    assert CARRIER.verify_upgrade is None
    assert CARRIER.require_webhook().is_report is not None


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in, features.dtmf_out) == (
        *(True, True, True),
        True,
    )
    assert (features.wants_silence, features.proof_covers_url) == (True, False)
    assert features.answer_markup_inline_chars is None
    expected = ["PCMU", "PCMA", "L16"]
    assert list(features.received_encodings) == list(features.sent_encodings) == expected


def test_markup_follows_the_account() -> None:
    assert CARRIER.require_markup() is CARRIER.markup
    account = TelnyxAccount.model_validate({"media": "PCMA"})
    assert CARRIER.require_markup(account) is not CARRIER.markup


def test_pipecats_serializer_is_named_as_pipecat_names_it() -> None:
    named = f"{TelnyxFrameSerializer.__module__}.{TelnyxFrameSerializer.__qualname__}"
    assert CARRIER.features.pipecat_serializer == named
