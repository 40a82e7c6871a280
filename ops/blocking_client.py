"""Make tracker/client/blocking.py of aio.py: `just blocking-client`; a test compares them."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from unasync import Rule, unasync_files

CHECKOUT = Path(__file__).resolve().parents[1]
CLIENT = CHECKOUT / "tracker/client"
DOCSTRING = '"""Client, made of aio.py by `just blocking-client`: change that file."""'
NAMES = {
    "AsyncClient": "Client",
    "AsyncHTTPTransport": "HTTPTransport",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "asyncio": "time",
}


def blocking_source() -> str:
    """The text of blocking.py that aio.py results in."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "from").mkdir()
        source, target = folder / "from/blocking.py", folder / "to/blocking.py"
        source.write_text((CLIENT / "aio.py").read_text())
        rule = Rule(f"{folder}/from/", f"{folder}/to/", NAMES)
        unasync_files([str(source)], [rule])
        text = re.sub(r'^""".*?"""', DOCSTRING, target.read_text(), count=1)
        # A generator that is not async has a third type: what it returns.
        target.write_text(re.sub(r"\bGenerator\[(.*), None\]", r"Generator[\1, None, None]", text))
        for command in (["check", "--fix", "--quiet", "--select=I"], ["format", "--quiet"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--config=pyproject.toml", target]
            subprocess.run(ruff, cwd=CHECKOUT, check=True)
        return target.read_text()


if __name__ == "__main__":
    (CLIENT / "blocking.py").write_text(blocking_source())
