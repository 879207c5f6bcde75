from __future__ import annotations

from trunkline.carriers.vobiz import CARRIER
from trunkline.carriers.vobiz.account import VobizAccount


def test_the_record_has_every_part_but_signed_upgrades() -> None:
    assert CARRIER.name == "vobiz"
    parts = (CARRIER.new_stream, CARRIER.webhook, CARRIER.markup, CARRIER.new_client)
    assert None not in parts
    assert CARRIER.verify_upgrade is None
    webhook = CARRIER.require_webhook()
    assert None not in (webhook.nonce, webhook.is_report)


def test_features() -> None:
    features = CARRIER.features
    assert (features.marks, features.clear, features.dtmf_in, features.dtmf_out) == (
        *(True, True, True),
        False,
    )
    assert features.dtmf_as_tones
    assert features.pipecat_serializer is None


def test_streams_are_as_the_account_wants_them() -> None:
    assert CARRIER.stream_options is not None
    options = CARRIER.stream_options(VobizAccount(received_big_endian=True))
    assert CARRIER.require_stream(options) is not CARRIER.require_stream()
