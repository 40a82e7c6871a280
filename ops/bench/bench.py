"""What is measured, and what it is compared with: started when a line first needs it."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ops.bench import filling, rivals
from ops.bench.machine import SERVER
from ops.bench.processes import answers, free_ports, running, wait_for
from ops.bench.scale import BASE_MINUTES, MANY, PAIR, Scale
from tracker.embedded.home import started
from tracker.embedded.up import app_processes
from tracker.settings import Settings

if TYPE_CHECKING:
    from subprocess import Popen

_OURS = "tracker"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers, and its process."""

    url: str
    pid: int


class Bench:
    """Servers of its own in a temporary home, databases on them, and who serves those."""

    def __init__(
        self, settings: Settings, scale: Scale, facts: dict[str, str], stack: ExitStack
    ) -> None:
        """Use `opened`."""
        self.settings, self.scale, self.facts = settings, scale, facts
        self.folder = settings.home.parent
        self._stack = stack
        self._databases: dict[str, Settings] = {}
        self._served: dict[tuple[str, str], Served] = {}

    @classmethod
    @contextmanager
    def opened(cls, scale: Scale, facts: dict[str, str]) -> Iterator[Self]:
        """With PostgreSQL and Redis running as `tracker up` runs them; nothing is left of it.

        What becomes known meanwhile of the databases goes to *facts*.
        """
        folder = Path(tempfile.mkdtemp(prefix="tracker-bench-"))
        folder.chmod(0o755)  # as root, the servers run as somebody else
        try:
            settings = plain_settings(folder / "home")
            with started(settings), ExitStack() as stack:
                yield cls(settings, scale, facts, stack)
        finally:
            shutil.rmtree(folder)

    def empty(self, name: str) -> Settings:
        """A migrated database of that *name*, without a row when it is first asked for."""
        if name not in self._databases:
            settings = self.settings.changed(postgres_db=name)
            filling.create(settings)
            self._databases[name] = settings
        return self._databases[name]

    def database(self, name: str) -> Settings:
        """The database `base` with 100,000 rows, `deep` with a million, `large` with 50 million."""
        if name not in self._databases:
            names, minutes = self._contents(name)
            began = time.monotonic()
            filling.fill(self.empty(name), names, minutes)
            spent = time.monotonic() - began
            self.facts[f"filling {name}"] = f"{len(names) * minutes:,} rows in {spent:.0f} s"
        return self._databases[name]

    def ours(self, database: str = "base") -> Served:
        """The API on that *database*."""
        return self._serve(_OURS, database)

    def rival(self, name: str, database: str = "base") -> Served:
        """One of `rivals`, on the same."""
        return self._serve(name, database)

    @contextmanager
    def process(
        self, name: str, settings: Settings, *, core: int | None = None
    ) -> Iterator["Popen[bytes]"]:
        """`tracker` *name* as `tracker up` starts it, for as long as the block lasts."""
        apps = app_processes(settings, simulated=True)
        app = next(each for each in apps if each.name == name)
        with running(app.command, log=self.log(name), env=app.env, core=core) as process:
            yield process

    def log(self, name: str) -> Path:
        """Where the process of that *name* writes."""
        return self.folder / f"{name}.log"

    def _contents(self, name: str) -> tuple[tuple[str, ...], int]:
        sizes = {"base": BASE_MINUTES, "deep": self.scale.minutes, "large": BASE_MINUTES}
        names = {"base": PAIR, "deep": PAIR[: self.scale.indexes], "large": MANY}
        return names[name], sizes[name]

    def _serve(self, name: str, database: str) -> Served:
        if (name, database) not in self._served:
            settings = self.database(database).changed(web_port=free_ports(1)[0])
            self._served[name, database] = self._start(name, settings)
        return self._served[name, database]

    def _start(self, name: str, settings: Settings) -> Served:
        url = f"http://127.0.0.1:{settings.web_port}"
        if name == _OURS:
            started = self.process("web", settings, core=SERVER)
            url, log = f"{url}/{settings.api_version}", self.log("web")
        else:
            words, log = rivals.words(name, settings), self.log(name)
            env: Mapping[str, str] = rivals.environment(settings)
            started = running(words, log=log, env=env, core=SERVER)
        process = self._stack.enter_context(started)
        wait_for(lambda: answers(f"{url}{rivals.READY.get(name, '/health/live')}"), process, log)
        return Served(url, process.pid)


def environment(settings: Settings) -> Mapping[str, str]:
    """Of a command that shall use the servers of *settings*, whatever ours or `.env` says."""
    return app_processes(settings)[0].env


def plain_settings(home: Path) -> Settings:
    """Settings of the embedded servers in *home*, whatever the environment or `.env` says."""
    fixed: dict[str, object] = {
        "api_version": "v1",
        "postgres_host": "",
        "read_postgres_host": "",
        "direct_postgres_host": "",
        "postgres_db": "tracker",
        "postgres_user": "postgres",
        "postgres_password": "",
        "redis_host": "",
        "redis_sentinels": (),
        "tickers": PAIR,
        "rate_limit": None,
        "tracker_home": home,
        "tracker_cache": Settings.load().cache,
    }
    return Settings.model_validate(fixed)
