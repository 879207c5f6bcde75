"""What every carrier's stream, webhooks and markup must do alike.

A carrier without a part is held to refusing it: nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.conformance.adapters import (
    CALL_ID,
    FROM_NUMBER,
    OTHER_STREAM_ID,
    STREAM_ID,
    TO_NUMBER,
    Adapter,
)
from trunkline.errors import (
    LocalProtocolError,
    MissingProof,
    RemoteProtocolError,
    SignatureError,
    UnsupportedByCarrier,
)
from trunkline.telephony.call import CallEvent, Direction
from trunkline.telephony.carrier import Carrier, StreamConnect
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    ProtocolWarning,
    StreamEvent,
    StreamProtocol,
    StreamStarted,
    StreamState,
    StreamStopped,
)
from trunkline.telephony.webhook import CallChanged, Document, UpgradeRequest

BASE = "https://voice.example.test/telephony"
STREAM_URL = "wss://voice.example.test/ws/carrier/front-desk/call.1.mac"

VERBS: dict[str, Callable[[StreamProtocol], None]] = {
    "send_audio": lambda stream: stream.send_audio(b"\xff" * 160),
    "send_mark": lambda stream: stream.send_mark("a"),
    "send_clear": lambda stream: stream.send_clear(),
    "send_dtmf": lambda stream: stream.send_dtmf("1"),
    "send_close": lambda stream: stream.send_close("done"),
}


def receive(stream: StreamProtocol, *messages: bytes | str) -> Sequence[StreamEvent]:
    for message in messages:
        stream.receive_message(message, 0)
    return stream.events_received()


def bring_out(carrier: Carrier, adapter: Adapter, stream: StreamProtocol) -> None:
    """A core may wait for a whole message of audio.

    The mark that ends speech sends the rest; without marks, caller audio while nothing is added.
    """
    if carrier.features.marks:
        stream.send_mark("g1-end")
    else:
        receive(stream, adapter.media(bytes(320)), adapter.media(bytes(320)))


def has_webhook(carrier: Carrier) -> bool:
    """A carrier without webhooks is held to refusing them."""
    if carrier.webhook is None:
        with pytest.raises(UnsupportedByCarrier):
            carrier.require_webhook()
    return carrier.webhook is not None


def has_markup(carrier: Carrier) -> bool:
    """A carrier that is answered with nothing is held to refusing it."""
    if carrier.markup is None:
        with pytest.raises(UnsupportedByCarrier):
            carrier.require_markup()
    return carrier.markup is not None


@pytest.fixture
def opened(carrier: Carrier, adapter: Adapter) -> StreamProtocol:
    stream = carrier.require_stream()
    receive(stream, *adapter.start())
    stream.messages_to_send()
    assert stream.state is StreamState.OPEN
    return stream


def test_a_start_opens_the_stream(carrier: Carrier, adapter: Adapter) -> None:
    stream = carrier.require_stream()
    assert stream.state is StreamState.CONNECTING
    parameters = {"agent_name": "front-desk", "note": "ü & <b>"}
    if carrier.features.parameters_in_query:
        parameters = {}

    (started,) = receive(stream, *adapter.start(parameters=parameters))

    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.carrier_call_id) == (STREAM_ID, CALL_ID)
    # Where the protocol does not name the account, nothing else may be told as its id.
    assert started.account_id in (adapter.account.account_id, "")
    assert started.parameters == parameters
    assert started.raw
    features = carrier.features
    assert started.received_format.encoding in features.received_encodings
    assert started.sent_format.encoding in features.sent_encodings


@pytest.mark.parametrize("n_frames", [1, 3])
def test_audio_is_byte_exact_both_ways(
    carrier: Carrier, adapter: Adapter, opened: StreamProtocol, n_frames: int
) -> None:
    frame = bytes(index % 256 for index in range(320))

    events = receive(opened, *[adapter.media(frame) for _ in range(n_frames)])
    heard = [event.payload for event in events if isinstance(event, AudioReceived)]
    assert b"".join(heard) == frame * n_frames
    assert len(heard) == len(events)

    for payload in heard:
        opened.send_audio(payload)
    bring_out(carrier, adapter, opened)
    assert adapter.understand(opened.messages_to_send()).audio == frame * n_frames


def test_long_audio_loses_nothing(
    carrier: Carrier, adapter: Adapter, opened: StreamProtocol
) -> None:
    audio = bytes(index % 251 for index in range(64000))
    opened.send_audio(audio)
    bring_out(carrier, adapter, opened)
    assert adapter.understand(opened.messages_to_send()).audio == audio


def test_a_mark_comes_back(carrier: Carrier, adapter: Adapter, opened: StreamProtocol) -> None:
    if not carrier.features.marks:
        with pytest.raises(UnsupportedByCarrier):
            opened.send_mark("g1-utterance-1")
        return
    opened.send_mark("g1-utterance-1")
    (name,) = adapter.understand(opened.messages_to_send()).marks
    assert receive(opened, adapter.mark_echo(name)) == [MarkPlayed(name="g1-utterance-1")]


def test_clear(carrier: Carrier, adapter: Adapter, opened: StreamProtocol) -> None:
    if not carrier.features.clear:
        with pytest.raises(UnsupportedByCarrier):
            opened.send_clear()
        return
    opened.send_clear()
    assert adapter.understand(opened.messages_to_send()).clears == 1


def test_every_key(carrier: Carrier, adapter: Adapter, opened: StreamProtocol) -> None:
    if not carrier.features.dtmf_in:
        with pytest.raises(NotImplementedError):
            adapter.dtmf("1")
        return
    for digit in "0123456789*#":
        assert receive(opened, adapter.dtmf(digit)) == [DtmfReceived(digit=digit)]


def test_stop_ends_the_stream(adapter: Adapter, opened: StreamProtocol) -> None:
    (stopped,) = receive(opened, adapter.stop())
    assert isinstance(stopped, StreamStopped)
    assert opened.state is StreamState.CLOSED


def test_an_end_without_stop_is_no_stop(opened: StreamProtocol) -> None:
    opened.receive_eof()
    assert opened.events_received() == ()
    assert opened.state is StreamState.CLOSED


def test_media_before_the_start_is_never_audio(carrier: Carrier, adapter: Adapter) -> None:
    stream = carrier.require_stream()
    try:
        events = receive(stream, adapter.media(b"\xff" * 160))
    except RemoteProtocolError:
        events = stream.events_received()
    assert all(isinstance(event, ProtocolWarning) for event in events)
    assert stream.state is not StreamState.OPEN


def test_a_second_start_changes_nothing(adapter: Adapter, opened: StreamProtocol) -> None:
    assert all(
        isinstance(event, ProtocolWarning)
        for event in receive(opened, *adapter.start(parameters={"agent_name": "other"}))
    )
    with pytest.raises(RemoteProtocolError):
        receive(opened, *adapter.start(stream_id=OTHER_STREAM_ID))
    assert not any(isinstance(event, StreamStarted) for event in opened.events_received())


@pytest.mark.parametrize("garbage", ["", "hello", "{", "[]", '{"event":7}', b"\x00\xff", b""])
def test_garbage_gives_a_warning_or_a_close_code(
    carrier: Carrier, opened: StreamProtocol, garbage: bytes | str
) -> None:
    for stream in (carrier.require_stream(), opened):
        try:
            events = receive(stream, garbage)
        except RemoteProtocolError as error:
            assert 1000 < error.close_code < 5000  # noqa: PT017 - either outcome is right
        else:
            # Carriers that send audio as binary messages may take bytes for audio.
            assert all(isinstance(event, ProtocolWarning | AudioReceived) for event in events)


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_in_the_wrong_state_are_our_bug(
    carrier: Carrier, adapter: Adapter, opened: StreamProtocol, verb: str
) -> None:
    receive(opened, adapter.stop())
    opened.messages_to_send()
    for stream in (carrier.require_stream(), opened):
        with pytest.raises(LocalProtocolError):
            VERBS[verb](stream)
        assert stream.messages_to_send() == ()


def test_a_webhook_is_verified_and_understood(carrier: Carrier, adapter: Adapter) -> None:
    if not has_webhook(carrier):
        return
    webhook = carrier.require_webhook()
    request = adapter.incoming(f"{BASE}/inbound/front-desk?a=%20b")

    webhook.verify(request, adapter.account)

    assert webhook.account_id(request) == adapter.account.account_id
    call = webhook.parse_incoming(request)
    assert (call.carrier_call_id, call.direction) == (CALL_ID, Direction.INBOUND)
    assert (call.from_number, call.to_number) == (FROM_NUMBER, TO_NUMBER)
    assert call.raw


def test_a_callback_is_verified_and_understood(carrier: Carrier, adapter: Adapter) -> None:
    if not has_webhook(carrier):
        return
    webhook = carrier.require_webhook()
    request = adapter.ended(f"{BASE}/events/c1")

    webhook.verify(request, adapter.account)

    changed = webhook.parse_event(request)
    assert isinstance(changed, CallChanged)
    assert (changed.carrier_call_id, changed.event) == (CALL_ID, CallEvent.COMPLETED)


def test_a_forged_webhook_is_refused(carrier: Carrier, adapter: Adapter) -> None:
    if not has_webhook(carrier):
        return
    verify = carrier.require_webhook().verify
    request = adapter.incoming(f"{BASE}/inbound/front-desk")
    verify(request, adapter.account)
    with pytest.raises(SignatureError):
        verify(adapter.tamper(request), adapter.account)
    elsewhere = replace(request, url=f"{BASE}/inbound/other")
    if carrier.features.proof_covers_url:
        with pytest.raises(SignatureError):
            verify(elsewhere, adapter.account)
    else:
        verify(elsewhere, adapter.account)
    with pytest.raises(MissingProof):
        verify(adapter.strip_proof(request), adapter.account)


def test_nothing_is_right_without_credentials(carrier: Carrier, adapter: Adapter) -> None:
    if not has_webhook(carrier):
        return
    request = adapter.incoming(f"{BASE}/inbound/front-desk")
    with pytest.raises(SignatureError):
        carrier.require_webhook().verify(request, carrier.account())


def test_upgrades(carrier: Carrier, adapter: Adapter) -> None:
    if carrier.verify_upgrade is None:
        with pytest.raises(NotImplementedError):
            adapter.upgrade(STREAM_URL)
        return
    upgrade = adapter.upgrade(STREAM_URL)
    carrier.verify_upgrade(upgrade, adapter.account)
    forged = [(name, f"{value}x") for name, value in upgrade.headers]
    with pytest.raises(SignatureError):
        carrier.verify_upgrade(replace(upgrade, headers=forged), adapter.account)
    if carrier.features.proof_covers_url:
        with pytest.raises(SignatureError):
            carrier.verify_upgrade(replace(upgrade, url=STREAM_URL + "x"), adapter.account)
    with pytest.raises(MissingProof):
        carrier.verify_upgrade(UpgradeRequest(url=STREAM_URL, headers=[]), adapter.account)


def test_markup_connects_to_our_socket(carrier: Carrier, adapter: Adapter) -> None:
    if not has_markup(carrier):
        return
    connect = StreamConnect(
        stream_url=STREAM_URL,
        parameters={"agent_name": "front-desk", "note": "ü & <b> \"c\" 'd'"},
        continue_url=f"{BASE}/continue/c1?a=1&b=2",
        stream_status_url=f"{BASE}/events/c1",
    )
    markup = carrier.require_markup()
    parameters = {
        name: value for name, value in connect.parameters.items() if markup.fits(name, value)
    }
    connect = replace(connect, parameters=parameters)
    for asked in (connect, replace(connect, as_json=True)):
        read = adapter.read_connect(markup.connect(asked))
        assert (read.stream_url, read.parameters) == (STREAM_URL, parameters)
        # What a carrier's markup has no place for is absent; what it names, it names right.
        assert read.continue_url == (
            connect.continue_url if carrier.features.resumes_stream else None
        )
        assert read.stream_status_url in (connect.stream_status_url, None)


def test_every_answer_is_a_document(carrier: Carrier) -> None:
    if not has_markup(carrier):
        return
    markup = carrier.require_markup()
    answers: list[Callable[[], Document]] = [
        markup.hangup,
        markup.reject,
        lambda: markup.say("We are closed."),
        lambda: markup.forward(TO_NUMBER, caller_id=FROM_NUMBER),
        markup.accept_event,
    ]
    documents: list[Document] = []
    for answer in answers:
        # A carrier that speaks and forwards by its own flow only says so, and is refused instead.
        with suppress(UnsupportedByCarrier):
            documents.append(answer())
    assert len(documents) in (3, 5)
    assert 200 <= markup.accept_event().status < 300
    assert all(document.content_type for document in documents)
    # Where an inbound caller cannot be made to hear busy, refusing is hanging up.
    alike = markup.reject() == markup.hangup()
    assert len({document.body for document in documents}) == len(documents) - alike
