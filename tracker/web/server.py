"""The web process: uvicorn, one event loop."""

import gc
import resource
import signal
import sys

import uvicorn

from tracker.settings import Settings
from tracker.web.app import create_app
from tracker.web.live.line import Protocol
from tracker.web.live.streams import DEFAULT_PACE, Pace

_FILES = 200  # that are open besides the clients of the stream: requests, database, libraries


def configure(
    settings: Settings, pace: Pace = DEFAULT_PACE, *, keeps: bool = True
) -> uvicorn.Config:
    """How uvicorn runs the API of *settings*; *keeps*: whether answers are kept in memory."""
    return uvicorn.Config(
        create_app(settings, pace, keeps=keeps),
        host=settings.web_host,
        port=settings.web_port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=5,
    )


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way get some seconds to end."""
    # uvicorn stops cleanly, and then sends itself the signal again: that is a good end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _allow_files(settings.stream_clients + _FILES)
    server = uvicorn.Server(configure(settings))
    gc.freeze()  # what is loaded stays: to look through it again held up requests for 30 ms
    server.run()


def _allow_files(count: int) -> None:
    """Let this process open *count* files, if it may: many systems begin with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft not in (resource.RLIM_INFINITY, enough) and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
