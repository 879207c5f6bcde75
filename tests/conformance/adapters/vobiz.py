"""Vobiz's side, written after its documentation, which has no official SDK on the package index."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from tests.conformance.adapters import CALL_ID, FROM_NUMBER, STREAM_ID, TO_NUMBER, Message, Sent
from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.telephony.carrier import StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

AUTH_ID = "MA_TEST0001"
TOKEN = "vobiz-test-auth-token-0001"
SIGNATURE, NONCE = "X-Vobiz-Signature-V3", "X-Vobiz-Signature-V3-Nonce"
NONCE_VALUE = "90817263544536271809"
FORM = "application/x-www-form-urlencoded"

LONGEST_PAYLOAD_BYTES = 480  # 60 ms
LONGEST_URL_CHARS = 2048


class VobizAdapter:
    account = VobizAccount.model_validate({"auth_id": AUTH_ID, "auth_token": TOKEN})

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        # Custom data reaches the socket in its URL only: extra_headers is always these two letters.
        start = {
            "callId": CALL_ID,
            "streamId": stream_id,
            "accountId": AUTH_ID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        message = {"sequenceNumber": 0, "event": "start", "start": start, "extra_headers": "{}"}
        return [json.dumps(message)]

    def media(self, audio: bytes) -> Message:
        payload = base64.b64encode(audio).decode()
        media = {"track": "inbound", "timestamp": "1778597597091", "chunk": 2, "payload": payload}
        return self._message("media", streamId=STREAM_ID, media=media, extra_headers="{}")

    def dtmf(self, digit: str) -> Message:
        return self._message("dtmf", dtmf={"digit": digit})

    def mark_echo(self, name: str) -> Message:
        return json.dumps({"event": "playedStream", "name": name})

    def stop(self) -> Message:
        return self._message("stop")

    def _message(self, event: str, **more: object) -> Message:
        return json.dumps({"sequenceNumber": 2, "event": event, **more})

    def understand(self, messages: Sequence[Message]) -> Sent:
        audio, marks, clears = b"", list[str](), 0
        for message in messages:
            assert isinstance(message, str), "Vobiz reads text messages"
            fields = json.loads(message)
            assert fields.pop("streamId") == STREAM_ID
            match fields:
                case {
                    "event": "playAudio",
                    "media": {
                        "contentType": "audio/x-mulaw",
                        "sampleRate": 8000,
                        "payload": str(payload),
                    },
                }:
                    decoded = base64.b64decode(payload, validate=True)
                    assert len(decoded) <= LONGEST_PAYLOAD_BYTES
                    audio += decoded
                case {"event": "checkpoint", "name": str(name)} if name:
                    marks.append(name)
                case {"event": "clearAudio"}:
                    clears += 1
                case _:
                    raise AssertionError(f"Vobiz does not know {fields}")
        return Sent(audio=audio, marks=marks, clears=clears)

    def incoming(self, url: str) -> WebhookRequest:
        return self._form(url, Event="StartApp", CallStatus="ringing", ForwardedFrom="")

    def ended(self, url: str) -> WebhookRequest:
        return self._form(url, Event="Hangup", CallStatus="completed", Duration="4")

    def _form(self, url: str, **more: str) -> WebhookRequest:
        fields = {
            "CallUUID": CALL_ID,
            "ParentAuthID": AUTH_ID,
            "Direction": "inbound",
            "From": FROM_NUMBER.removeprefix("+"),
            "To": TO_NUMBER.removeprefix("+"),
            **more,
        }
        signed = f"{url.partition('?')[0]}.{NONCE_VALUE}"
        digest = hmac.new(TOKEN.encode(), signed.encode(), hashlib.sha256).digest()
        headers = [
            ("Content-Type", FORM),
            (SIGNATURE, base64.b64encode(digest).decode()),
            (NONCE, NONCE_VALUE),
        ]
        body = urlencode(fields).encode()
        return WebhookRequest(method="POST", url=url, headers=headers, body=body)

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        # The body is not covered: what keeps another one out is that a nonce counts once.
        headers = [
            (name, value[:-1] if name == NONCE else value) for name, value in request.headers
        ]
        return replace(request, headers=headers)

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers=[pair for pair in request.headers if pair[0] != SIGNATURE])

    def upgrade(self, url: str) -> UpgradeRequest:
        raise NotImplementedError("Vobiz does not sign upgrades")

    def read_connect(self, document: Document) -> StreamConnect:
        assert document.content_type in ("application/xml", "text/xml")
        response = ElementTree.fromstring(document.body)  # noqa: S314 - our own document
        assert response.tag == "Response"
        assert [element.tag for element in response] == ["Stream", "Redirect"]
        stream = response.find("Stream")
        assert stream is not None
        assert stream.get("audioTrack") == "inbound", "with another track the call is hung up"
        assert (stream.get("bidirectional"), stream.get("keepCallAlive")) == ("true", "true")
        url = stream.text or ""
        assert len(url) <= LONGEST_URL_CHARS
        address, _, query = url.partition("?")
        return StreamConnect(
            stream_url=address,
            parameters=dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))),
            continue_url=response.findtext("Redirect"),
            stream_status_url=stream.get("statusCallbackUrl"),
        )


ADAPTER = VobizAdapter()
