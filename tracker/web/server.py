"""The web process: uvicorn, one event loop."""

import signal
import sys

import uvicorn

from tracker.settings import Settings
from tracker.web.app import create_app


def configure(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the API of *settings*."""
    return uvicorn.Config(
        create_app(settings),
        host=settings.web_host,
        port=settings.web_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way get some seconds to end."""
    # uvicorn stops cleanly, and then sends itself the signal again: that is a good end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.Server(configure(settings)).run()
