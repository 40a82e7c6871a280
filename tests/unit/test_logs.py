"""The log: a line for each event, in three formats, also from libraries; never a password."""

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest

from tracker.settings import CHECKOUT, Settings

CONFIGURE = """
import logging, warnings
from loguru import logger
from tracker import logs
from tracker.settings import Settings
logs.configure(Settings.load(), "worker")
"""
BOUND = 'logger.bind(ticker="btc_usd", minute="2026-01-01T00:00:00+00:00").info("stored")\n'
FAILING = """
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("failed")
"""


def run_script(script: str, log_format: str = "json", **environment: str) -> tuple[str, str]:
    """The standard output and the standard error of a process."""
    settings = Settings(log_format="auto").changed(log_format=log_format)
    completed = subprocess.run(
        [sys.executable, "-c", CONFIGURE + script],
        check=False,
        cwd=CHECKOUT,
        env=settings.environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return completed.stdout, completed.stderr


def log_objects(script: str, **environment: str) -> list[dict[str, object]]:
    """The JSON object of each line; standard error is empty."""
    output, errors = run_script(script, **environment)
    assert errors == ""
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(("variable", "is_coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_without_no_color(variable: str, *, is_coloured: bool) -> None:
    environment = Settings(log_format="plain").environment() | {"NO_COLOR": variable}
    terminal, stdout = os.openpty()
    with os.fdopen(terminal, "rb", 0) as screen:
        subprocess.run(
            [sys.executable, "-c", CONFIGURE + BOUND],
            check=True, cwd=CHECKOUT, env=environment, stdout=stdout, timeout=60,
        )  # fmt: skip
        os.close(stdout)

        assert (b"\x1b[" in screen.read(1000)) == is_coloured


def test_json_line_is_one_flat_object() -> None:
    """Time with its offset, level, process, message, and the bound values."""
    (line,) = log_objects(BOUND)

    at = datetime.fromisoformat(str(line.pop("time")))
    assert at.utcoffset() is not None
    assert line == {
        "level": "INFO",
        "process": "worker",
        "message": "stored",
        "ticker": "btc_usd",
        "minute": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize("log_format", ["plain", "text"])
def test_text_line_ends_with_bound_values(log_format: str) -> None:
    """After level and message; only text begins with the time."""
    output, _ = run_script(BOUND, log_format)

    time, rest = ("", output) if log_format == "plain" else output.split(" ", 1)
    assert rest == "INFO    stored ticker=btc_usd minute=2026-01-01T00:00:00+00:00\n"
    assert (len(time) == len("12:00:00")) == (log_format == "text")


def test_auto_format_is_json_without_terminal() -> None:
    assert json.loads(run_script(BOUND, "auto")[0])["message"] == "stored"


@pytest.mark.parametrize(
    ("settings", "levels"),
    [({}, ["INFO"]), ({"LOG_LEVEL": "WARNING"}, []), ({"DEBUG": "true"}, ["DEBUG", "INFO"])],
)
def test_log_level_is_configured(settings: dict[str, str], levels: list[str]) -> None:
    """DEBUG overrides LOG_LEVEL."""
    script = 'logger.debug("a")\nlogger.info("b")\n'

    assert [line["level"] for line in log_objects(script, **settings)] == levels


@pytest.mark.parametrize("name", ["uvicorn.error", "dramatiq.worker.Worker", "psycopg.pool"])
def test_library_record_is_forwarded(name: str) -> None:
    """With its level and logger, in one line."""
    (line,) = log_objects(f'logging.getLogger("{name}").warning("%s\\n of %d", "one", 2)')

    assert (line["level"], line["message"], line["logger"]) == ("WARNING", "one of 2", name)


def test_verbose_libraries_log_warnings_only() -> None:
    names = ["httpx", "dramatiq.broker", "periodiq", "psycopg.pool"]

    assert log_objects(f'for name in {names}: logging.getLogger(name).info("hello")') == []


def test_repeated_library_warning_is_logged_once() -> None:
    """Within a minute; other warnings, and our own, are logged."""
    script = """
for _ in range(50):
    for name in ("dramatiq.worker", "psycopg.pool"):
        logging.getLogger(name).critical("%s: error connecting", name)
logging.getLogger("psycopg.pool").warning("something else")
for _ in range(3):
    logger.warning("no price")
"""
    assert [line["message"] for line in log_objects(script)] == [
        "dramatiq.worker: error connecting",
        "psycopg.pool: error connecting",
        "something else",
        *["no price"] * 3,
    ]


def test_exception_is_part_of_its_line() -> None:
    """With the traceback: caught, forwarded or fatal."""
    caught, forwarded, fatal = log_objects(
        FAILING
        + FAILING.replace("logger.exception", 'logging.getLogger("uvicorn.error").exception')
        + "1 / 0"
    )

    for line in (caught, forwarded, fatal):
        assert str(line["exception"]).startswith("Traceback (most recent call last):\n")
        assert str(line["exception"]).endswith("ZeroDivisionError: division by zero\n")
    assert [line["message"] for line in (caught, forwarded, fatal)] == [
        "failed",
        "failed",
        "crashed: ZeroDivisionError",
    ]


def test_unencodable_values_are_escaped() -> None:
    """Surrogates, braces, tags and objects."""
    script = r"""
logger.info("half {} <red>{{x}}</red>", "\ud800")
logging.getLogger("x").warning("half \ud800 {y} %s")
logger.bind(when=object).info("bound")
"""
    first, second, third = log_objects(script)

    assert first["message"] == "half \\ud800 <red>{x}</red>"
    assert second["message"] == "half \\ud800 {y} %s"
    assert third["when"] == "<class 'object'>"
    assert "half" in run_script(script, "plain")[0]


def test_invalid_library_record_is_reported() -> None:
    """On standard error; the process continues."""
    output, errors = run_script('logging.getLogger("x").warning("%d", "one")\n' + BOUND)

    assert json.loads(output)["message"] == "stored"
    assert "TypeError" in errors


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_passwords_are_never_logged(log_format: str) -> None:
    """Neither in messages nor in tracebacks."""
    script = """
import psycopg
from datetime import datetime, UTC
from decimal import Decimal
from tracker.models import Quote
from tracker import queries
from tracker.database import Database
settings = Settings.load()
quote = Quote(ticker="btc_usd", price=Decimal("1.00"), observed_at=datetime.now(UTC))
with Database(settings.database_dsn, 1) as database:
    try:
        database.run(queries.insert_price, quote, quote.observed_at)
    except Exception:
        logger.exception("no database for {}", settings)
try:
    psycopg.connect(settings.database_dsn + " nonsense")
except Exception as error:
    logger.opt(exception=error).error("bad: {}", error)
psycopg.connect(settings.database_dsn)
"""
    secrets = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_PASSWORD": "p'w d\\="}

    output, errors = run_script(script, log_format, **secrets)

    assert output.count("Traceback") >= 3
    assert "p'w d" not in output + errors
    assert "w d" not in output + errors
