"""Log lines of a process, and what bots print, as log lines with the call's id.

Three ways lead out of a bot: ``print``, the standard library's logging, and loguru (Pipecat's). The
first two end in ``sys.stdout`` and ``sys.stderr``, which are replaced by a stream that logs line by
line; loguru gets a sink of ours, but only after the bot's module was imported, because many bots
remove loguru's first handler at import and fail when it is gone.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import structlog

from trunkline.dispatch.environment import redact

if TYPE_CHECKING:
    import loguru

__all__ = ["LogStream", "capture_loguru", "capture_streams", "configure_logging"]

LONGEST_LINE_CHARS = 4000
"""A longer line of a bot is cut into several."""


def configure_logging(
    *, level: str = "INFO", log_format: str = "auto", process: str, file: TextIO | None = None
) -> None:
    """Send structlog's lines to standard error: text on a terminal, else one JSON object a line.

    Args:
        level: Lowest level that is written, such as ``INFO``.
        log_format: ``auto``, ``json`` or ``text``.
        process: Name of this process, on every line.
        file: Where to write; standard error as the process was started with by default.
    """
    target = file or sys.__stderr__ or sys.stderr
    text = log_format == "text" or (log_format == "auto" and target.isatty())
    render: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _name_process(process),
        render,
    ]
    lowest = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    wrapper = structlog.make_filtering_bound_logger(lowest)
    structlog.configure(
        processors=processors,
        wrapper_class=wrapper,
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=False,  # a fork gives its lines another name
    )
    _bot_lines.lowest_level = lowest
    _bot_lines.new = lambda: structlog.wrap_logger(
        structlog.PrintLogger(target), processors=processors, wrapper_class=wrapper
    )


def _name_process(process: str) -> structlog.types.Processor:
    def add(
        _logger: object, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        event["process"] = process
        return event

    return add


class _BotLines:
    """Makes the loggers of bots' lines, independent of structlog's global configuration.

    A bot may configure structlog itself, and its lines then go to the ``sys.stdout`` that we have
    replaced: with one configuration for both, each line would be logged by way of itself.
    """

    def __init__(self) -> None:
        self.new: Callable[[], structlog.typing.FilteringBoundLogger] = lambda: (
            structlog.wrap_logger(structlog.PrintLogger(sys.__stderr__))
        )
        self.lowest_level = logging.INFO
        self.loguru_fields: dict[str, str] | None = None
        """On each of loguru's lines; None while loguru is not ours."""


_bot_lines = _BotLines()


class LogStream(io.TextIOBase):
    """A text stream whose lines become log lines. Secrets of the environment are blanked."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        super().__init__()
        self._write_line = write_line
        self._rest = ""

    def writable(self) -> bool:
        """See ``io.IOBase``."""
        return True

    def write(self, text: str, /) -> int:
        """Log every line that is complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > LONGEST_LINE_CHARS:
            lines.append(self._rest)
            self._rest = ""
        for line in lines:
            self._log(line)
        return len(text)

    def finish(self) -> None:
        """Log what has no line end; called before the process exits."""
        rest, self._rest = self._rest, ""
        self._log(rest)

    def _log(self, line: str) -> None:
        line = line.rstrip()
        for start in range(0, len(line), LONGEST_LINE_CHARS):
            self._write_line(redact(line[start : start + LONGEST_LINE_CHARS]))


def capture_streams(**fields: str) -> tuple[LogStream, LogStream]:
    """Make ``print`` and the standard library's logging end in our log, with ``fields``.

    What the bot writes is its own: standard output is logged at INFO, standard error at WARNING.
    """

    def out_line(line: str) -> None:
        _bot_lines.new().info("bot output", stream="stdout", line=line, **fields)

    def err_line(line: str) -> None:
        _bot_lines.new().warning("bot output", stream="stderr", line=line, **fields)

    out, err = LogStream(out_line), LogStream(err_line)
    sys.stdout, sys.stderr = out, err
    return out, err


def capture_loguru(**fields: str) -> None:
    """Make loguru's lines ours, at their own level; drops every sink that the bot added.

    Called again, as in each fork, it only changes the fields.
    """
    if "loguru" not in sys.modules:
        return
    if (
        _bot_lines.loguru_fields is not None
    ):  # in a zygote, before the fork: adding a sink costs 5 ms
        _bot_lines.loguru_fields = fields
        return
    _bot_lines.loguru_fields = fields
    from loguru import logger

    def sink(message: loguru.Message) -> None:
        record = message.record
        line = redact(record["message"][:LONGEST_LINE_CHARS])
        error = record["exception"]
        found = {"error": error.type.__name__} if error is not None and error.type else {}
        # loguru has levels that structlog lacks: TRACE (5), SUCCESS (25), and a bot's own.
        level = min(max(record["level"].no // 10 * 10, logging.DEBUG), logging.CRITICAL)
        _bot_lines.new().log(
            level,
            "bot log",
            logger=record["name"],
            line=line,
            **found,
            **(_bot_lines.loguru_fields or {}),
        )

    logger.remove()
    # Below our level loguru must not even build a record: Pipecat traces every frame. Variables'
    # values (``diagnose``) have no place in a log.
    logger.add(
        sink,
        level=_bot_lines.lowest_level,
        format="{message}",
        catch=True,
        backtrace=False,
        diagnose=False,
    )
