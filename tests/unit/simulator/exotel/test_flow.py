from __future__ import annotations

import pytest

from trunkline.simulator.exotel.flow import (
    MOST_URL_CHARS,
    AppletError,
    check_media_url,
    read_json_answer,
    read_markup,
)
from trunkline.simulator.requester import Reply


@pytest.mark.parametrize("url", ["wss://h/ws", "ws://localhost:1/ws", "ws://127.0.0.1/ws"])
def test_urls(url: str) -> None:
    assert check_media_url(url) == url
    assert read_json_answer(Reply(status=200, text=f'{{"url":"{url}"}}')) == url
    text = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
    assert read_markup(Reply(status=200, text=text)) == url


@pytest.mark.parametrize(
    "url", ["", "https://h/ws", "ws://h/ws", "ws://10.0.0.1/", "wss://h/" + "x" * MOST_URL_CHARS]
)
def test_urls_that_are_never_opened(url: str) -> None:
    with pytest.raises(AppletError):
        check_media_url(url)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=503, text='{"url":"wss://h"}'),
        Reply(status=None, error="rt"),
        Reply(status=200, text="<Response/>"),
        Reply(status=200, text="[]"),
        Reply(status=200, text='{"url":5}'),
    ],
)
def test_answers_that_fail_the_applet(reply: Reply) -> None:
    with pytest.raises(AppletError):
        read_json_answer(reply)


@pytest.mark.parametrize(
    "reply",
    [Reply(status=500, text="<x"), Reply(status=200), Reply(status=200, text="<Response/>")],
)
def test_callbacks_that_ask_for_nothing(reply: Reply) -> None:
    assert read_markup(reply) is None


def test_a_callback_that_is_no_markup() -> None:
    with pytest.raises(AppletError):
        read_markup(Reply(status=200, text="{}"))
