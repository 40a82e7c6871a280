"""Debian's nginx, on the loopback."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.api import fetch_status
from tests.support.debian import linked_command
from tests.support.waiting import wait_until
from tracker.embedded.account import MINIMAL_ENVIRONMENT

_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    scgi_temp_path {folder};
    uwsgi_temp_path {folder};
{http}
}}
"""


@contextmanager
def run_nginx(folder: Path, http: str, client: httpx.Client) -> Iterator[Path]:
    """The log of an nginx that responds to *client* and keeps its files in *folder*.

    http: directives of its http block.
    """
    (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, http=http))
    options = ("-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    command = [*linked_command("nginx"), *options]
    log = folder / "nginx.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, env=MINIMAL_ENVIRONMENT, stdout=stream, stderr=stream) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or fetch_status(client, "/health/live"))
            assert process.poll() is None, log.read_text()
            yield log
        finally:
            process.kill()
