"""Plivo's side, written after its documentation and signed by its official SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.plivo.account import PlivoAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"
TOKEN = "bWFkZS11cC1hdXRoLXRva2VuLWZvci10ZXN0czAx"
SIGNATURE, NONCE = "X-Plivo-Signature-V3", "X-Plivo-Signature-V3-Nonce"
NONCE_VALUE = "05429567804466091622"
FORM = "application/x-www-form-urlencoded"

LONGEST_PAYLOAD_CHARS = 16 * 1024
LONGEST_URL_CHARS = 2048


class PlivoAdapter:
    account = PlivoAccount.model_validate({"auth_id": AUTH_ID, "auth_token": TOKEN})

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        start = {
            "callId": CALL_ID,
            "streamId": stream_id,
            "accountId": AUTH_ID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        # Parameters are in the media URL's query; extra_headers would be <Stream extraHeaders>.
        message = {"event": "start", "sequenceNumber": 1, "start": start, "extra_headers": ""}
        return [json.dumps(message)]

    def media(self, audio: bytes) -> Message:
        payload = base64.b64encode(audio).decode()
        media = {"track": "inbound", "timestamp": "1791281742020", "chunk": 1, "payload": payload}
        return self._message("media", media=media)

    def dtmf(self, digit: str) -> Message:
        dtmf = {"track": "inbound", "digit": digit, "timestamp": "1791281742240"}
        return self._message("dtmf", dtmf=dtmf)

    def mark_echo(self, name: str) -> Message:
        return self._message("playedStream", name=name)

    def stop(self) -> Message:
        return self._message("stop")

    def _message(self, event: str, **more: object) -> Message:
        return json.dumps({"event": event, "sequenceNumber": 2, "streamId": STREAM_ID, **more})

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            assert isinstance(message, str), "Plivo reads text messages"
            match json.loads(message):
                case {
                    "event": "playAudio",
                    "media": {
                        "contentType": "audio/x-mulaw",
                        "sampleRate": 8000,
                        "payload": str(payload),
                    },
                }:
                    assert len(payload) <= LONGEST_PAYLOAD_CHARS
                    audio += base64.b64decode(payload, validate=True)
                case {"event": "checkpoint", "streamId": stream_id, "name": str(name)} if name:
                    assert stream_id == STREAM_ID
                    marks.append(name)
                case {"event": "clearAudio", "streamId": stream_id}:
                    assert stream_id == STREAM_ID
                    clears += 1
                case fields:
                    raise AssertionError(f"Plivo does not know {fields}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        return self._form(
            url, Event="StartApp", CallStatus="ringing", Direction="inbound", CallerName=""
        )

    def ended(self, url: str) -> WebhookRequest:
        return self._form(
            url,
            Event="Hangup",
            CallStatus="completed",
            Direction="inbound",
            Duration="37",
            HangupCauseName="Normal Hangup",
        )

    def _form(self, url: str, **more: str) -> WebhookRequest:
        fields = {
            "CallUUID": CALL_ID,
            "ParentAuthID": AUTH_ID,
            "From": FROM_NUMBER.removeprefix("+"),
            "To": TO_NUMBER.removeprefix("+"),
            **more,
        }
        signature = get_signature_v3(
            TOKEN, construct_post_url(url, fields).decode(), NONCE_VALUE.encode()
        )
        headers = [("Content-Type", FORM), (SIGNATURE, signature.decode()), (NONCE, NONCE_VALUE)]
        body = urlencode(fields).encode()
        return WebhookRequest(method="POST", url=url, headers=headers, body=body)

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, body=request.body.replace(b"0100", b"0199"))

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[pair for pair in request.headers if pair[0] != SIGNATURE])

    def upgrade(self, url: str) -> UpgradeRequest:
        signature = get_signature_v3(
            TOKEN, construct_get_url(url, {}).decode(), NONCE_VALUE.encode()
        )
        headers = [(SIGNATURE.lower(), signature.decode()), (NONCE.lower(), NONCE_VALUE)]
        return UpgradeRequest(url=url, headers=headers)

    def read_connect(self, document: Document) -> StreamConnect:
        assert document.content_type in ("application/xml", "text/xml")
        response = ElementTree.fromstring(document.body)  # noqa: S314 - our own document
        assert response.tag == "Response"
        assert [element.tag for element in response] == ["Stream", "Redirect"]
        stream = response.find("Stream")
        assert stream is not None
        assert (stream.get("bidirectional"), stream.get("keepCallAlive")) == ("true", "true")
        assert stream.get("contentType") == "audio/x-mulaw;rate=8000"
        url = stream.text or ""
        assert len(url) <= LONGEST_URL_CHARS
        address, _, query = url.partition("?")
        return StreamConnect(
            stream_url=address,
            parameters=dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))),
            continue_url=response.findtext("Redirect"),
            stream_status_url=stream.get("statusCallbackUrl"),
        )


ADAPTER = PlivoAdapter()
