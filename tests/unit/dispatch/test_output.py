from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from loguru import logger

from trunkline.dispatch import output
from trunkline.dispatch.output import (
    LONGEST_LINE_CHARS,
    LogStream,
    capture_loguru,
    capture_streams,
    configure_logging,
)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    streams, file = (sys.stdout, sys.stderr), io.StringIO()
    configure_logging(level="INFO", log_format="json", process="worker w1", file=file)
    yield file
    sys.stdout, sys.stderr = streams
    structlog.reset_defaults()
    logger.remove()
    output._bot_lines.loguru_fields = None  # noqa: SLF001 - a worker never undoes it


def lines(file: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_what_a_bot_prints_carries_its_call(written: io.StringIO) -> None:
    streams = capture_streams(call_id="c1")
    print("one\ntwo", end="")  # noqa: T201 - it is what bots do
    print("careful", file=sys.stderr)  # noqa: T201
    logging.getLogger("bot").warning("from logging")
    for stream in streams:
        stream.finish()
    found = [(line["line"], line["level"], line["call_id"]) for line in lines(written)]
    assert ("one", "info", "c1") in found
    assert ("two", "info", "c1") in found
    assert ("careful", "warning", "c1") in found
    assert all(line["process"] == "worker w1" for line in lines(written))


def test_loguru_is_ours_at_its_own_level(written: io.StringIO) -> None:
    capture_loguru(call_id="c1")
    logger.debug("a transcript")
    capture_loguru(call_id="c2")
    logger.success("done")
    logger.error("failed")
    try:
        raise KeyError("x")
    except KeyError:
        logger.exception("raised")
    assert [(line["line"], line["level"]) for line in lines(written)] == [
        ("done", "info"),
        ("failed", "error"),
        ("raised", "error"),
    ]
    assert lines(written)[-1]["error"] == "KeyError"
    assert {line["call_id"] for line in lines(written)} == {"c2"}


def test_secrets_are_blanked(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "sk-123456")
    capture_streams()
    print("key is sk-123456")  # noqa: T201
    assert lines(written)[0]["line"] == "key is <SERVICE_API_KEY>"


def test_a_bot_may_configure_structlog_itself(written: io.StringIO) -> None:
    capture_streams(call_id="c1")
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(), processors=[lambda *a: "own"]
    )
    structlog.get_logger().info("hello")
    print("one")  # noqa: T201
    assert [line["line"] for line in lines(written)] == ["own", "one"]


def test_a_line_without_an_end_is_cut() -> None:
    found: list[str] = []
    stream = LogStream(found.append)
    assert stream.writable()
    stream.write("x" * (LONGEST_LINE_CHARS + 1))
    stream.write("\n\n")
    assert [len(line) for line in found] == [LONGEST_LINE_CHARS, 1]


def test_text_and_levels(capsys: pytest.CaptureFixture[str]) -> None:
    file = io.StringIO()
    configure_logging(level="warning", log_format="text", process="pool", file=file)
    structlog.get_logger().info("hidden")
    structlog.get_logger().warning("shown")
    structlog.reset_defaults()
    assert "hidden" not in file.getvalue()
    assert "shown" in file.getvalue()
    assert capsys.readouterr().out == ""
