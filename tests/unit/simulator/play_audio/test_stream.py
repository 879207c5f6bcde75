from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest

from trunkline import carriers
from trunkline.audio import Encoding
from trunkline.errors import RemoteProtocolError
from trunkline.simulator.connection import ClearSent, KeysSent, MarkSent, MediaSent, StopSent
from trunkline.simulator.play_audio.stream import GARBAGE, MEDIA_FORMAT, PlayAudioMedia
from trunkline.simulator.plivo import RULES as PLIVO
from trunkline.simulator.vobiz import RULES as VOBIZ
from trunkline.telephony.media import (
    AudioCleared,
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    StreamStarted,
)

BOTH = pytest.mark.parametrize("rules", [PLIVO, VOBIZ], ids=lambda rules: rules.name)


def new_media(rules: Any) -> PlayAudioMedia:
    return PlayAudioMedia(rules, account_id="MA1", call_id="C1", stream_id="S1")


def audio(payload: str = "AQI=", **changes: object) -> str:
    media = {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": payload, **changes}
    return json.dumps({"event": "playAudio", "streamId": "S1", "media": media})


@BOTH
def test_what_it_writes_the_servers_core_understands(rules: Any) -> None:
    media = new_media(rules)
    core = carriers.get(rules.name).require_stream()
    assert (media.opening(), media.ending()) == ((), ())
    messages = [
        media.start(),
        media.media(b"\x01" * 160),
        media.media(b"\x02" * 160),
        media.mark("g1-1"),
        *media.cleared(["g1-2"]),
        *filter(None, [media.dtmf("5")]),
    ]
    for message in messages:
        core.receive_message(message, 0)
    events = list(core.events_received())
    assert isinstance(events[0], StreamStarted)
    assert events[0].received_format == MEDIA_FORMAT
    first, second = events[1], events[2]
    assert isinstance(first, AudioReceived)
    assert isinstance(second, AudioReceived)
    assert (second.timestamp_ms or 0) - (first.timestamp_ms or 0) == 20
    keys = [DtmfReceived(digit="5")] if rules.has_dtmf_events else []
    assert events[3:] == [MarkPlayed(name="g1-1"), AudioCleared(), *keys]


@BOTH
def test_audio_that_was_thrown_away_takes_its_time(rules: Any) -> None:
    media = new_media(rules)
    media.start()
    first = json.loads(media.media(b"\x01" * 160))["media"]
    media.skip(320)
    third = json.loads(media.media(b"\x01" * 160))["media"]
    assert int(third["timestamp"]) - int(first["timestamp"]) == 60
    assert (first["chunk"], third["chunk"]) == (1, 2)


@BOTH
def test_what_the_servers_core_writes_it_understands(rules: Any) -> None:
    media = new_media(rules)
    core = carriers.get(rules.name).require_stream()
    core.receive_message(media.start(), 0)
    core.send_audio(b"\x01\x02")
    core.send_mark("a")
    core.send_clear()
    read = [media.receive(message) for message in core.messages_to_send()]
    assert read == [MediaSent(payload=b"\x01\x02"), MarkSent(name="a"), ClearSent()]
    assert media.violations == []


@BOTH
def test_garbage_is_garbage_to_the_servers_core(rules: Any) -> None:
    core = carriers.get(rules.name).require_stream()
    core.receive_message(new_media(rules).start(), 0)
    core.events_received()
    warned = 0
    for message in GARBAGE:
        with suppress(RemoteProtocolError):
            core.receive_message(message, 0)
        warned += len(core.events_received())
    assert warned >= 5


def test_what_only_one_of_them_takes() -> None:
    keys, stop = '{"event":"sendDTMF","dtmf":"1#"}', '{"event":"stop","streamId":"S1"}'
    assert new_media(PLIVO).receive(keys) == KeysSent(digits="1#")
    assert new_media(VOBIZ).receive(stop) == StopSent()
    for rules, message in ((PLIVO, stop), (VOBIZ, keys)):
        media = new_media(rules)
        assert media.receive(message) is None
        assert len(media.violations) == 1


def test_audio_needs_its_streams_id_on_one_of_them() -> None:
    message = json.loads(audio())
    del message["streamId"]
    assert new_media(PLIVO).receive(json.dumps(message)) == MediaSent(payload=b"\x01\x02")
    assert new_media(VOBIZ).receive(json.dumps(message)) is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00", "bad_message"),
        ("hello", "bad_message"),
        ("[]", "bad_message"),
        ('{"event":"checkpoint","streamId":"S2","name":"a"}', "wrong_stream"),
        ('{"event":"checkpoint","streamId":"S1","name":""}', "bad_message"),
        ('{"event":"clearAudio"}', "wrong_stream"),
        ('{"event":"sendDTMF","dtmf":7}', "bad_message"),
        ('{"event":"mark","streamId":"S1"}', "bad_message"),
        ('{"event":"playAudio"}', "bad_message"),
        (audio(contentType="audio/x-mulaw;rate=8000"), "invalid_content_type"),
        (audio(sampleRate=16000), "invalid_content_type"),
        (audio(payload=""), "bad_message"),
        (audio(payload="*"), "bad_message"),
    ],
)
def test_what_is_ignored(message: str | bytes, code: str) -> None:
    media = new_media(PLIVO)
    assert media.receive(message) is None
    assert [each.code for each in media.violations] == [code]


def test_what_is_played_and_complained_of() -> None:
    media = new_media(PLIVO)
    long = base64.b64encode(bytes(13_000)).decode()
    header = base64.b64encode(b"RIFF1234").decode()
    assert media.receive(audio(payload=long)) == MediaSent(payload=bytes(13_000))
    assert media.receive(audio(payload=header)) == MediaSent(payload=b"RIFF1234")
    assert [each.code for each in media.violations] == ["long_message", "wav-header"]


def test_the_format() -> None:
    assert (MEDIA_FORMAT.encoding, MEDIA_FORMAT.sample_rate_hz) == (Encoding.PCMU, 8000)
