"""The notebook: one volatility by URL, by SQL and from the archive, with a bar for each hour."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from ops import notebook
from tests.support.api import serve_api
from tests.support.database import insert_prices
from tests.support.reference import random_walk
from tracker.archive import update_archive
from tracker.settings import Settings
from tracker.times import MINUTE

START = datetime(2024, 1, 31, tzinfo=UTC)


def test_notebook_finds_one_volatility_everywhere(
    writer: psycopg.Connection, base: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the definition: of adjacent minutes alone, across the end of a month."""
    series = random_walk(7, START, 3_000, 65_000)
    insert_prices(writer, "btc_usd", {START - MINUTE: Decimal("1.00"), **series})
    changes = [
        math.log(price / series[minute - MINUTE])
        for minute, price in series.items()
        if minute - MINUTE in series
    ]
    expected = math.sqrt(math.fsum(change**2 for change in changes) / len(changes) * 525_600)
    update_archive(base.database_dsn, tmp_path)

    with serve_api(base) as client:
        found = [notebook.from_url("2024-01-31", f"{client.base_url}/v1")]
    found.append(notebook.from_sql("2024-01-31", base.database_dsn))
    found.append(notebook.from_archive("2024-01-31", str(tmp_path)))

    assert found == [pytest.approx(expected)] * 3
    hours = len({minute.replace(minute=0) for minute in series})
    bars = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2024-")]
    assert bars == bars[:hours] * 3
