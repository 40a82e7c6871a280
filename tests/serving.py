"""The API as it runs in production: uvicorn in a thread, real sockets, real HTTP."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from tracker.settings import Settings
from tracker.web.server import configure


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """A client of the API of *settings*, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configure(settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "uvicorn ended at once"
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
