"""Many clients for a while: no error, no long wait, no growing memory."""

from collections.abc import Iterator

from ops.bench.bench import Bench
from ops.bench.figures import Figure
from ops.bench.machine import SERVER
from ops.bench.processes import answers, free_ports, rss, wait_for
from ops.bench.wrk import Asked, shoot

_CLIENTS = 256
_WARM = 4  # seconds, until every connection has been answered and memory is what it needs


def crowd(bench: Bench) -> Iterator[Figure]:
    """256 connections ask for the newest page, of a fresh process."""
    settings = bench.database("base").changed(web_port=free_ports(1)[0])
    root = f"http://127.0.0.1:{settings.web_port}/{settings.api_version}"
    asked = Asked(url=f"{root}/prices?ticker=btc_usd&limit=50", clients=_CLIENTS)
    with bench.process("web", settings, core=SERVER) as process:
        wait_for(lambda: answers(f"{root}/health/live"), process, bench.log("web"))
        shoot(asked, _WARM, strict=False)
        before = rss(process.pid)
        shot = shoot(asked, bench.scale.crowd, strict=False)
        after = rss(process.pid)
    what = f"{_CLIENTS} connections for {bench.scale.crowd:g} s"
    note = f"p99 {1e3 * shot.p99:.0f} ms, p50 {1e3 * shot.p50:.0f} ms, {shot.rate:,.0f}/s"
    yield Figure(what=f"{what}: errors", values=[shot.errors], unit="", wanted=0, end="<=")
    yield Figure(
        what="the same: p99 against p50",
        values=[shot.p99 / shot.p50],
        wanted=10,
        end="<=",
        note=note,
    )
    yield Figure(
        what="the same: memory after against before",
        values=[after / before],
        wanted=1.1,
        end="<=",
        note=f"{before:.0f} MB, then {after:.0f} MB",
    )
