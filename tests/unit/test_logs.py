"""The log: one line for each event, in three forms, whoever speaks; never a password."""

import json
import subprocess
import sys
from datetime import datetime

import pytest

from tracker.settings import CHECKOUT, Settings

SET_UP = """
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
    logger.exception("no good")
"""


def said(script: str, form: str = "json", **environment: str) -> tuple[str, str]:
    """What a process writes to its standard output and error."""
    settings = Settings(log_format="auto").changed(log_format=form)
    done = subprocess.run(
        [sys.executable, "-c", SET_UP + script],
        check=False,
        cwd=CHECKOUT,
        env=settings.environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout, done.stderr


def objects(script: str, **environment: str) -> list[dict[str, object]]:
    """Its lines, each a JSON object; nothing else is written anywhere."""
    output, complaints = said(script, **environment)
    assert complaints == ""
    return [json.loads(line) for line in output.splitlines()]


def test_json_is_one_flat_object_a_line() -> None:
    """Time with its offset, level, process, message, and what is bound."""
    (line,) = objects(BOUND)

    at = datetime.fromisoformat(str(line.pop("time")))
    assert at.utcoffset() is not None
    assert line == {
        "level": "INFO",
        "process": "worker",
        "message": "stored",
        "ticker": "btc_usd",
        "minute": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("form", "beginning"), [("plain", "INFO    stored "), ("text", "INFO    stored ")]
)
def test_text_is_for_people(form: str, beginning: str) -> None:
    """The level, the message, then what is bound; in text the time comes first."""
    output, _ = said(BOUND, form)

    time, shown = ("", output) if form == "plain" else output.split(" ", 1)
    assert shown == f"{beginning}ticker=btc_usd minute=2026-01-01T00:00:00+00:00\n"
    assert (len(time) == len("12:00:00")) == (form == "text")


def test_auto_is_json_where_nobody_looks() -> None:
    """Standard output is no terminal here."""
    assert json.loads(said(BOUND, "auto")[0])["message"] == "stored"


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({}, ["INFO"]), ({"LOG_LEVEL": "WARNING"}, []), ({"DEBUG": "true"}, ["DEBUG", "INFO"])],
)
def test_the_level_is_configured(settings: dict[str, str], shown: list[str]) -> None:
    """DEBUG shows more, whatever LOG_LEVEL says."""
    script = 'logger.debug("a")\nlogger.info("b")\n'

    assert [line["level"] for line in objects(script, **settings)] == shown


@pytest.mark.parametrize("name", ["uvicorn.error", "dramatiq.worker.Worker", "psycopg.pool"])
def test_libraries_speak_through_us(name: str) -> None:
    """With their level and their name, in one line."""
    (line,) = objects(f'logging.getLogger("{name}").warning("%s\\n of %d", "one", 2)')

    assert (line["level"], line["message"], line["logger"]) == ("WARNING", "one of 2", name)


def test_libraries_that_chat_are_quiet() -> None:
    """Each request and each message is theirs to know."""
    names = ["httpx", "dramatiq.broker", "periodiq", "psycopg.pool"]

    assert objects(f'for name in {names}: logging.getLogger(name).info("hello")') == []


def test_an_outage_is_one_line_a_minute() -> None:
    """The same warning again says nothing new; another one does."""
    script = """
for _ in range(50):
    for name in ("dramatiq.worker", "psycopg.pool"):
        logging.getLogger(name).critical("%s: error connecting", name)
logging.getLogger("psycopg.pool").warning("something else")
for _ in range(3):
    logger.warning("no price")
"""
    assert [line["message"] for line in objects(script)] == [
        "dramatiq.worker: error connecting",
        "psycopg.pool: error connecting",
        "something else",
        *["no price"] * 3,
    ]


def test_an_exception_is_part_of_its_line() -> None:
    """Its traceback too, whether it was caught, forwarded or fatal."""
    caught, forwarded, fatal = objects(
        FAILING
        + FAILING.replace("logger.exception", 'logging.getLogger("uvicorn.error").exception')
        + "1 / 0"
    )

    for line in (caught, forwarded, fatal):
        assert str(line["exception"]).startswith("Traceback (most recent call last):\n")
        assert str(line["exception"]).endswith("ZeroDivisionError: division by zero\n")
    assert [line["message"] for line in (caught, forwarded, fatal)] == [
        "no good",
        "no good",
        "crashed: ZeroDivisionError",
    ]


def test_what_cannot_be_written_is_written_all_the_same() -> None:
    """Halves of characters, braces, tags and objects harm nobody."""
    script = r"""
logger.info("half {} <red>{{x}}</red>", "\ud800")
logging.getLogger("x").warning("half \ud800 {y} %s")
logger.bind(when=object).info("bound")
"""
    first, second, third = objects(script)

    assert first["message"] == "half \\ud800 <red>{x}</red>"
    assert second["message"] == "half \\ud800 {y} %s"
    assert third["when"] == "<class 'object'>"
    assert "half" in said(script, "plain")[0]


def test_a_library_s_broken_line_harms_only_itself() -> None:
    """It is reported on standard error; the program goes on."""
    output, complaints = said('logging.getLogger("x").warning("%d", "one")\n' + BOUND)

    assert json.loads(output)["message"] == "stored"
    assert "TypeError" in complaints


@pytest.mark.parametrize("form", ["json", "text"])
def test_passwords_are_never_shown(form: str) -> None:
    """Neither by what fails nor by what a traceback shows of it."""
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

    output, complaints = said(script, form, **secrets)

    assert output.count("Traceback") >= 3
    assert "p'w d" not in output + complaints
    assert "w d" not in output + complaints
