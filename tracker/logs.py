"""Logging: loguru's lines and those of libraries, which use `logging`, go to one sink."""

import logging
import os
import sys
import time
import traceback
from io import TextIOWrapper
from types import TracebackType
from typing import TYPE_CHECKING

import orjson
import stamina
from loguru import logger

from tracker.settings import Settings

if TYPE_CHECKING:
    from loguru import Record

_PLAIN = "<level>{level: <7}</level> {message}{extra[_fields]}\n{exception}"
_TEXT = "<green>{time:HH:mm:ss}</green> " + _PLAIN
_FORMATS = {"text": _TEXT, "plain": _PLAIN, "json": "{extra[_json]}\n"}
_INTERNAL_FIELDS = {"_fields", "_json", "process"}
_REPEAT_INTERVAL = 60.0  # seconds in which a library's warning is logged once

# These log each request, connection and message at level INFO.
_VERBOSE = ("httpx", "httpcore", "psycopg.pool", "asyncio", "dramatiq", "periodiq", "tzlocal")


def configure(settings: Settings, process: str) -> None:
    """Log to standard output under the name *process*: text, or one JSON object per line."""
    kind = settings.log_format
    if kind == "auto":
        kind = "text" if sys.stdout.isatty() else "json"
    as_json = kind == "json"
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logger.remove()
    logger.configure(extra={"process": process}, patcher=_add_json if as_json else _add_fields)
    # diagnose would print the values of variables, including passwords.
    logger.add(
        sys.stdout,
        level="DEBUG" if settings.debug else settings.log_level,
        format=lambda _: _FORMATS[kind],
        colorize=False if os.environ.get("NO_COLOR") else None,
        backtrace=False,
        diagnose=False,
    )
    stamina.instrumentation.set_on_retry_hooks([])  # callers log what failed, and why
    logging.basicConfig(handlers=[_LoguruHandler()], level=logging.INFO, force=True)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
    sys.excepthook = _log_crash


def _log_crash(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    logger.opt(exception=error).critical("crashed: {}", type(error).__name__)


class _LoguruHandler(logging.Handler):
    """Forwards records of `logging` to loguru; a repeated warning once per minute."""

    def __init__(self) -> None:
        super().__init__()
        self._recent: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record with its level, traceback and logger."""
        try:
            message = " ".join(record.getMessage().split())
        except Exception:  # noqa: BLE001 -- an invalid record must not raise in the library
            self.handleError(record)
            return
        if record.exc_info or not self._is_repeated(record.levelno, message):
            log = logger.opt(exception=record.exc_info).bind(logger=record.name)
            log.log(_loguru_level(record), "{}", message)

    def _is_repeated(self, level: int, message: str) -> bool:
        """Whether a warning was logged within the last minute."""
        if level < logging.WARNING:
            return False
        now = time.monotonic()
        self._recent = {
            text: at for text, at in self._recent.items() if now - at < _REPEAT_INTERVAL
        }
        return self._recent.setdefault(message, now) != now


def _loguru_level(record: logging.LogRecord) -> str | int:
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return record.levelno


def _bound_values(record: "Record") -> dict[str, object]:
    return {name: value for name, value in record["extra"].items() if name not in _INTERNAL_FIELDS}


def _add_fields(record: "Record") -> None:
    """Add the bound values as key=value, for the end of the line."""
    pairs = (f" {name}={value}" for name, value in _bound_values(record).items())
    record["extra"]["_fields"] = "".join(pairs)


def _add_json(record: "Record") -> None:
    """Add the line as one flat JSON object."""
    line = {
        "time": record["time"],
        "level": record["level"].name,
        "process": record["extra"].get("process"),
        "message": _escape_surrogates(record["message"]),
        **_bound_values(record),
    }
    if (error := record["exception"]) is not None:
        line["exception"] = _escape_surrogates("".join(traceback.format_exception(error.value)))
    record["extra"]["_json"] = orjson.dumps(line, default=str).decode()


def _escape_surrogates(text: str) -> str:
    """*text* with escaped surrogates, which JSON may contain and UTF-8 cannot encode."""
    return text.encode(errors="backslashreplace").decode()
