"""Requests a second: three endpoints against the usual stack, and against the least there is."""

import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import partial
from statistics import median

import httpx

from ops.bench.bench import Bench, Served
from ops.bench.errors import BenchError
from ops.bench.figures import Figure, ratios
from ops.bench.rivals import BARE, USUAL
from ops.bench.rounds import alternate
from ops.bench.scale import BASE_MINUTES
from ops.bench.wrk import Asked, Shot, shoot

_PAGE = "/prices?ticker=btc_usd&limit=50"


def newest(bench: Bench) -> Iterator[Figure]:
    """The newest page."""
    ours, usual = _against(bench, _PAGE, (_usual(bench, _PAGE), _PAGE))
    yield _figure("newest page, requests/s against FastAPI", ours, usual, 15)


def scattered(bench: Bench) -> Iterator[Figure]:
    """Pages at random moments: nothing of them can be kept."""
    path = f"{_PAGE}&start_date={{time}}"
    ours, usual, select = _against(
        bench, path, (_usual(bench, path), path), (bench.rival(BARE), "/select")
    )
    yield _figure("page at a random start_date, requests/s against FastAPI", ours, usual, 6)
    yield _figure("the same, against SELECT 1 through a pool", ours, select, 0.75)


def last(bench: Bench) -> Iterator[Figure]:
    """The newest price."""
    path = "/prices/last?ticker=btc_usd"
    ours, usual, fixed = _against(
        bench, path, (_usual(bench, path), path), (bench.rival(BARE), "/bytes")
    )
    yield _figure("last, requests/s against FastAPI", ours, usual, 15)
    yield _figure("the same, against fixed bytes from Starlette", ours, fixed, 0.7)


def filtered(bench: Bench) -> Iterator[Figure]:
    """The price of a random minute."""
    path = "/prices/filtered?ticker=btc_usd&date={minute}"
    ours, usual = _against(bench, path, (_usual(bench, path), path))
    yield _figure("filtered, random minutes, requests/s against FastAPI", ours, usual, 4)


def _usual(bench: Bench, path: str) -> Served:
    """The usual stack. Raises BenchError unless it answers with the same prices as ours."""
    server, ours = bench.rival(USUAL), bench.ours()
    past = int(time.time()) - 7200
    asked = path.format(time=past, minute=past // 60 * 60)
    if _prices(f"{server.url}{asked}") != _prices(f"{ours.url}{asked}"):
        raise BenchError(f"FastAPI's answer to {asked} is another than ours")
    return server


def _prices(url: str) -> list[tuple[int, Decimal, datetime]]:
    found = httpx.get(url).raise_for_status().json()
    return [
        (each["id"], Decimal(each["price"]), datetime.fromisoformat(each["created_at"]))
        for each in (found if isinstance(found, list) else [found])
    ]


def _against(bench: Bench, path: str, *rivals: tuple[Served, str]) -> list[list[Shot]]:
    """The shots at ours and at each of *rivals*."""
    now = int(time.time())
    first, last = now - (BASE_MINUTES - 100) * 60, now - 3600  # minutes pass meanwhile
    sides = (
        Asked(url=f"{server.url}{path}", pid=server.pid, first=first, last=last)
        for server, path in ((bench.ours(), path), *rivals)
    )
    shots = (partial(shoot, asked, bench.scale.seconds) for asked in sides)
    return alternate(bench.scale.shots, *shots)


def _figure(what: str, ours: list[Shot], theirs: list[Shot], wanted: float) -> Figure:
    values = ratios([shot.rate for shot in ours], [shot.rate for shot in theirs])
    note = f"{_told(ours)}, against {_told(theirs)}"
    return Figure(what=what, values=values, wanted=wanted, note=note)


def _told(shots: list[Shot]) -> str:
    rate, cpu = median(shot.rate for shot in shots), median(shot.cpu for shot in shots)
    return f"{rate:,.0f}/s ({1e3 * cpu:.2f} ms of CPU each)"
