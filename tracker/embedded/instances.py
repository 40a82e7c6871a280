"""The two trackers that a home may hold: the real one, and the demo with its synthetic prices."""

import sys

from tracker.embedded.servers import running
from tracker.settings import Settings


def demo_of(settings: Settings) -> Settings:
    """The demo's settings: a home and a database of its own, always on embedded servers."""
    return settings.changed(
        tracker_home=settings.home / "demo",
        tracker_cache=settings.cache,
        postgres_host="",
        read_postgres_host="",
        direct_postgres_host="",
        postgres_db="tracker_demo",
        redis_host="",
        redis_sentinels=(),
        client_base_url=f"http://127.0.0.1:{settings.simulator_port}/api/v2",
    )


def in_use(settings: Settings) -> Settings:
    """Those whose database runs: the demo's, and a word about it, where only the demo does."""
    if settings.postgres_host or running(settings):
        return settings
    demo = demo_of(settings)
    if not running(demo):
        return settings
    sys.stderr.write("this is the demo's database: its prices are synthetic\n")
    return demo
