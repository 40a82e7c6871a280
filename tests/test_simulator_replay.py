"""Recordings: what may stand in the file, and what is played when."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.errors import SettingsError
from tracker.simulator import Options, serve
from tracker.simulator.replay import Recording, load

NOON = 1_705_320_000  # 2024-01-15T12:00:00Z
SECOND = 1_000_000
ROWS = Recording((NOON * SECOND, (NOON + 60) * SECOND), (Decimal("42500.10"), Decimal(42501)))

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a text into a file."""

    def put(text: str) -> Path:
        path = tmp_path / "prices.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return put


@pytest.mark.parametrize(
    "text",
    [
        f"{NOON},42500.10\n{NOON + 60},42501\n",
        f"{NOON}.0,42500.10\n{NOON + 60}.000,42501\n",
        f"{NOON}000,42500.10\n{NOON + 60}000,42501\n",
        f"{NOON}000000,42500.10\r\n{NOON + 60}000000,42501\r\n",
        "2024-01-15T12:00:00Z,42500.10\n2024-01-15T13:01:00+01:00,42501\n",
        "2024-01-15 12:00:00,42500.10\n2024-01-15T12:01:00.000,42501",
        f"when,what\n{NOON},42500.10\n\n{NOON + 60},42501\n",
        f"\ufefftimestamp_ms,open,high,low,close\n{NOON}000,1,2,3,42500.10\n{NOON + 60}000,4,5,6,42501\n",  # noqa: E501 -- a line of the file
        f"price,volume,Timestamp\n42500.10,9,{NOON}\n42501,9,{NOON + 60}\n",
        f"{NOON + 60},42501\n{NOON},42499\n{NOON},42500.10\n",
    ],
)
def test_every_form_of_file_is_read(write: Write, text: str) -> None:
    """Times in any unit, a header or none, any order of rows, blank lines, a byte-order mark."""
    assert load(write(text)) == ROWS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{NOON},1\nyesterday,2\n", ":2: not a time: 'yesterday'"),
        (f"timestamp,price\n{NOON},1\n\n{NOON},x1\n", ":4: not a price: 'x1'"),
        (f"{NOON},0\n", ":1: not a price: '0'"),
        (f"{NOON},NaN\n", ":1: not a price: 'NaN'"),
        (f"{NOON},1\n{NOON}\n", ":2: too few columns"),
        (f"{NOON}000000000,1\n", f":1: not a UNIX time: {NOON}000000000"),
        ("", ": no prices in it"),
        ("timestamp,price\n", ": no prices in it"),
    ],
)
def test_a_bad_line_is_named(write: Write, text: str, complaint: str) -> None:
    """The error says which file, which line, and what stood there."""
    path = write(text)

    with pytest.raises(SettingsError) as caught:
        load(path)

    assert str(caught.value) == f"{path}{complaint}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is one clear error."""
    with pytest.raises(SettingsError, match=r"absent\.csv"):
        load(tmp_path / "absent.csv")


gaps = st.lists(st.integers(1, 10**8), min_size=1, max_size=20)


@settings(deadline=None)
@given(gaps=gaps, start=st.integers(0, 10**6), second=st.integers(-(10**6), 10**6))
def test_the_recording_repeats_both_ways(gaps: list[int], start: int, second: int) -> None:
    """At any second, the row that unrolling the recording by hand would show."""
    times = [sum(gaps[:at]) for at in range(len(gaps))]
    recording = Recording(times, [Decimal(at + 1) for at in range(len(gaps))])
    lasts = gaps[-2] if len(gaps) > 1 else SECOND
    period = times[-1] + lasts
    rounds = (second * SECOND - start * SECOND) // period
    offset = second * SECOND - start * SECOND - rounds * period

    shown = recording.price_at(second, start * SECOND)

    assert recording.period == period
    assert shown == max(at + 1 for at, time in enumerate(times) if time <= offset)


def test_a_recording_is_served_from_the_start_on(write: Write) -> None:
    """The first row stands at the second of the start, then it goes round."""
    replays = {"new-coin_usd": write("0,1.5\n10,2.5\n20,3.5\n")}
    options = Options(replays=replays, clock=lambda: NOON * SECOND + 999_999)

    with serve(options) as exchange, httpx.Client(base_url=exchange.admin_url) as http:
        shown = [http.get("/truth", params={"index": "new-coin_usd", "second": NOON + k}).json()
                 for k in (-1, 0, 9, 10, 20, 30)]  # fmt: skip
        served = http.get(f"{exchange.url}/public/get_index_price?index_name=new-coin_usd")

    assert [each["price"] for each in shown] == ["3.5", "1.5", "1.5", "2.5", "3.5", "1.5"]
    assert served.json()["result"]["index_price"] == 1.5


def test_a_recording_may_keep_its_timestamps(write: Write) -> None:
    """With keep_timestamps the rows stand where they were recorded."""
    path = write(f"{NOON},1.5\n{NOON + 60},2.5\n")
    options = Options(replays={"btc_usd": path}, keep_timestamps=True)

    with serve(options) as exchange:
        truth = f"{exchange.admin_url}/truth?index=btc_usd&at=2024-01-15T12:01:30Z"
        answer = httpx.get(truth).json()

    assert answer == {"index": "btc_usd", "second": NOON + 90, "price": "2.5"}
