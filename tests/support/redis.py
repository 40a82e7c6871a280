"""Redis servers beside the embedded one, with options of their own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracker.embedded.account import MINIMAL_ENVIRONMENT


@contextmanager
def run_redis(program: Path, *words: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Redis with *words*, and kill it at the end."""
    command = [str(program), *map(str, words)]
    with subprocess.Popen(
        command, env=MINIMAL_ENVIRONMENT, cwd="/", stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()
