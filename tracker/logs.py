"""One sink for every line: loguru's own, and what libraries send to the standard logging."""

import logging
import sys
import time
import traceback
from io import TextIOWrapper
from types import TracebackType
from typing import TYPE_CHECKING

import orjson
from loguru import logger

from tracker.settings import Settings

if TYPE_CHECKING:
    from loguru import Record

_PLAIN = "<level>{level: <7}</level> {message}{extra[_fields]}\n{exception}"
_TEXT = "<green>{time:HH:mm:ss}</green> " + _PLAIN
_FORMATS = {"text": _TEXT, "plain": _PLAIN, "json": "{extra[_json]}\n"}
_OWN = {"_fields", "_json", "process"}
_SILENCE = 60.0  # seconds in which a library's warning is not repeated

# These say each request, connection and message at a level meant for summaries.
_CHATTY = ("httpx", "httpcore", "psycopg.pool", "asyncio", "dramatiq", "periodiq", "tzlocal")


def set_up(settings: Settings, process: str) -> None:
    """Send every line of this *process* to standard output: text, or one JSON object a line."""
    kind = settings.log_format
    if kind == "auto":
        kind = "text" if sys.stdout.isatty() else "json"
    as_json = kind == "json"
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logger.remove()
    logger.configure(extra={"process": process}, patcher=_add_json if as_json else _add_fields)
    # diagnose would print the values of variables, passwords included.
    logger.add(
        sys.stdout,
        level="DEBUG" if settings.debug else settings.log_level,
        format=lambda _: _FORMATS[kind],
        backtrace=False,
        diagnose=False,
    )
    _take_over()


def _take_over() -> None:
    logging.basicConfig(handlers=[_Forward()], level=logging.INFO, force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
    sys.excepthook = _crash


def _crash(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    logger.opt(exception=error).critical("crashed: {}", type(error).__name__)


class _Forward(logging.Handler):
    """Hands a record of the standard logging to loguru; of an outage, one line a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the level and the traceback; name the library."""
        try:
            message = " ".join(record.getMessage().split())
        except Exception:  # noqa: BLE001 -- a library's broken line must not break the library
            self.handleError(record)
            return
        if record.exc_info or not self._repeats(record.levelno, message):
            log = logger.opt(exception=record.exc_info).bind(logger=record.name)
            log.log(_level(record), "{}", message)

    def _repeats(self, level: int, message: str) -> bool:
        """Whether a warning was given already, a moment ago."""
        if level < logging.WARNING:
            return False
        now = time.monotonic()
        self._said = {text: at for text, at in self._said.items() if now - at < _SILENCE}
        return self._said.setdefault(message, now) != now


def _level(record: logging.LogRecord) -> str | int:
    try:
        return logger.level(record.levelname).name
    except ValueError:
        return record.levelno


def _fields(record: "Record") -> dict[str, object]:
    return {name: value for name, value in record["extra"].items() if name not in _OWN}


def _add_fields(record: "Record") -> None:
    """Bound values behind the message, as key=value."""
    shown = (f" {name}={value}" for name, value in _fields(record).items())
    record["extra"]["_fields"] = "".join(shown)


def _add_json(record: "Record") -> None:
    """The whole line as one flat object."""
    line = {
        "time": record["time"],
        "level": record["level"].name,
        "process": record["extra"].get("process"),
        "message": _encodable(record["message"]),
        **_fields(record),
    }
    if (error := record["exception"]) is not None:
        line["exception"] = _encodable("".join(traceback.format_exception(error.value)))
    record["extra"]["_json"] = orjson.dumps(line, default=str).decode()


def _encodable(text: str) -> str:
    """*text*, halves of characters escaped: they may come in JSON, and cannot be written."""
    return text.encode(errors="backslashreplace").decode()
