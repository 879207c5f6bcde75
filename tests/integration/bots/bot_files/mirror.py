"""Speaks Twilio's protocol by hand: sends frames back, marks, clears, and keeps what it saw."""

import asyncio
import json

from neighbour import NAME  # a sibling file, as real bots have them
from pipecat.runner.utils import parse_telephony_websocket

seen = []
calls = []


async def bot(runner_args):
    websocket = runner_args.websocket
    provider, call_data = await parse_telephony_websocket(websocket)
    calls.append((NAME, provider, call_data, runner_args))
    frames = 0
    async for text in websocket.iter_text():
        message = json.loads(text)
        seen.append(message)
        match message["event"]:
            case "media":
                frames += 1
                answer = {
                    "event": "media",
                    "streamSid": call_data.stream_id,
                    "media": {"payload": message["media"]["payload"]},
                }
                await websocket.send_text(json.dumps(answer))
                if frames == 5:
                    mark = {"event": "mark", "streamSid": call_data.stream_id}
                    await websocket.send_text(json.dumps({**mark, "mark": {"name": "five"}}))
            case "dtmf" if message["dtmf"]["digit"] == "9":
                await websocket.send_text("this is not JSON")
                clear = {"event": "clear", "streamSid": call_data.stream_id}
                await websocket.send_text(json.dumps(clear))
            case "dtmf" if message["dtmf"]["digit"] == "0":
                await websocket.close()
                await asyncio.sleep(0)
            case _:
                pass
