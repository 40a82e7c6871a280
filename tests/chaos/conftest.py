"""One demo for each file of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chaos.demo import ChaosDemo, run_chaos_demo


@pytest.fixture(scope="module")
def demo(open_tmp: Path, request: pytest.FixtureRequest) -> Iterator[ChaosDemo]:
    """A demo that has recorded its first hour of the module's TICKERS, or of the usual two."""
    tickers = getattr(request.module, "TICKERS", "btc_usd,eth_usd")
    folder = open_tmp / request.module.__name__.rpartition(".")[2]
    with run_chaos_demo(folder, TICKERS=tickers) as demo:
        yield demo
