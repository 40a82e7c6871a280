"""`tracker demo`, from the command to the first price."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ops.bench.bench import Bench, plain_settings
from ops.bench.figures import Figure
from ops.bench.processes import answers, free_ports, running, wait_for


def demo(bench: Bench) -> Iterator[Figure]:
    """With the programs on this machine: in a new home, and again in the same one."""
    new, again = [], []
    for number in range(bench.scale.rounds):
        home = bench.folder / f"demo-{number}"
        new.append(_answered(bench, home))
        again.append(_answered(bench, home))
    what = "warm demo, start to the first price"
    yield Figure(what=what, values=new, unit="s", wanted=6, end="<=")
    yield Figure(what="the same, in a home that it has made", values=again, unit="s")


def _answered(bench: Bench, home: Path) -> float:
    """Seconds until /prices/last has one."""
    web, simulator = free_ports(2)
    settings = plain_settings(home).changed(web_port=web, simulator_port=simulator)
    url = f"http://127.0.0.1:{web}/v1/prices/last?ticker=btc_usd"
    words, log = [sys.executable, "-m", "tracker", "demo"], bench.log("demo")
    began = time.perf_counter()
    with running(words, log=log, env=settings.environment()) as process:
        wait_for(lambda: answers(url), process, log)
        return time.perf_counter() - began
