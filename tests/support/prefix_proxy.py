"""A reverse proxy that serves another server under a path prefix."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

PREFIX = "/outer/tracker"


@contextmanager
def proxy_requests(upstream: httpx.Client, *, strips: bool) -> Iterator[httpx.Client]:
    """A client of a proxy that forwards GET of PREFIX to *upstream*, and nothing else.

    It sends its own Host, as a plain `proxy_pass` does. strips: whether it removes the prefix.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404)
                return
            path = self.path.removeprefix(PREFIX) if strips else self.path
            response = upstream.get(path, headers={"Accept-Encoding": "identity"})
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
                yield client
        finally:
            server.shutdown()
            thread.join()
