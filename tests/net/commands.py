"""Runs of `tracker` as cases: exit status and output for programs, and texts for people apart."""

import re
import shlex
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.net.product import CHECKOUT, Product
from tests.net.recordings import TEXT, check, shortened

PARALLEL_COMMANDS = 3


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and how its output is recorded.

    words: as in a shell, without `tracker`.
    is_data: whether standard output is for programs: behaviour, not text.
    """

    words: str
    stdin: str = ""
    is_data: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Transcript:
    """Cases of commands, as recordings.check wants them."""

    behaviour: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Any] = field(default_factory=dict)

    def run(self, product: Product, name: str, command: Command) -> int:
        """Run *command*, and add what it did under *name*; its exit status."""
        with_variables = product.changed(**command.variables)
        done = with_variables.run(*shlex.split(command.words), stdin=command.stdin)
        self.add(
            name,
            done.returncode,
            normalize(product, done.stdout),
            normalize(product, done.stderr),
            is_data=command.is_data,
        )
        return done.returncode

    def add(
        self, name: str, status: int, stdout: str, stderr: str, *, is_data: bool = False
    ) -> None:
        """Add what a command did under *name*."""
        seen: dict[str, Any] = {"status": status}
        texts = {}
        for stream, text, is_text in (("stdout", stdout, not is_data), ("stderr", stderr, True)):
            if text:
                lines = _lines(text)
                seen[stream] = TEXT if is_text else lines
                texts |= {stream: lines} if is_text else {}
        self.behaviour[name] = seen
        if texts:
            self.texts[name] = texts

    def run_all(self, product: Product, commands: Mapping[str, Command]) -> None:
        """Run *commands*, which do not depend on one another, some at a time."""
        with ThreadPoolExecutor(PARALLEL_COMMANDS) as pool:
            list(pool.map(lambda case: self.run(product, *case), commands.items()))

    def check(self, name: str) -> None:
        """Compare with the recordings *name*."""
        check(name, self.behaviour, self.texts)


def named(words: Iterable[str], **options: Any) -> dict[str, Command]:
    """A command for each of *words*, named by them."""
    return {each: Command(each, **options) for each in words}


def normalize(product: Product, text: str) -> str:
    """*text* without what varies between two runs of one checkout."""
    for path, name in ((product.folder, "<folder>"), (CHECKOUT, "<checkout>")):
        text = text.replace(str(path), name)
    port = product.environment.get("WEB_PORT")
    if port:
        text = re.sub(rf"\b{port}\b", "<port>", text)
    if text.startswith("Traceback"):
        text = text.splitlines()[-1]
    if re.search(r"\b[0-9]+ days\b", text):  # a column as wide as the age of the data
        text = re.sub(" +", " ", re.sub(r"\b[0-9]+ days\b", "<age>", text))
    return text


def _lines(text: str) -> Any:
    short = shortened(text)
    return short.splitlines() if isinstance(short, str) else short
