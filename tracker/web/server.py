"""The web process: uvicorn, one event loop."""

import asyncio
import gc
import resource
import signal
import socket
import sys
from typing import Literal

import uvicorn
from loguru import logger

from tracker.settings import Settings
from tracker.watchdog import Watchdog
from tracker.web.app import create_app
from tracker.web.stream.responses import DEFAULT_OPTIONS, StreamOptions

_FILES = 2000  # open besides the clients of the stream: connections, database, libraries
TESTED_UVICORN = "0.54."  # protocol.py subclasses internals of it


def configure(
    settings: Settings, stream_options: StreamOptions = DEFAULT_OPTIONS, *, cache: bool = True
) -> uvicorn.Config:
    """How uvicorn runs the API of *settings*; *cache*: as in `create_app`."""
    return uvicorn.Config(
        create_app(settings, stream_options, cache=cache),
        host=settings.web_host,
        port=settings.web_port,
        loop="uvloop",
        http=_protocol(uvicorn.__version__),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=settings.web_keep_alive,
        timeout_graceful_shutdown=5,
    )


def _protocol(version: str) -> type[asyncio.Protocol] | Literal["httptools"]:
    """Our protocol for a uvicorn of a tested *version*; else uvicorn's own, without limits."""
    if version.startswith(TESTED_UVICORN):
        from tracker.web.protocol import Protocol  # noqa: PLC0415 -- may fail with other versions

        return Protocol
    logger.warning(
        "requests are not limited in size or time: uvicorn {} was not tested; install {}x",
        version,
        TESTED_UVICORN,
    )
    return "httptools"


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in progress get some seconds to end."""
    # uvicorn stops cleanly, then sends itself the signal again: the exit status is 0 too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _allow_files(settings.stream_clients + _FILES)
    server = _Server(configure(settings))
    gc.freeze()  # collecting the loaded modules delayed requests by 30 ms each time
    server.run()


class _Server(uvicorn.Server):
    """A server that sends heartbeats from its event loop."""

    _watchdog = Watchdog()

    async def on_tick(self, counter: int) -> bool:
        """Each 0.1 s: as uvicorn's, and a heartbeat each second."""
        if counter % 10 == 0:
            self._watchdog.send_heartbeat()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; requests in progress may take longer than a heartbeat."""
        self._watchdog.announce_stop()
        await super().shutdown(sockets)


def _allow_files(count: int) -> None:
    """Raise the limit on open files to *count*, if allowed: its default is often 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft not in (resource.RLIM_INFINITY, enough) and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
