"""The stand-in from the command line."""

import argparse
import sys
from contextlib import suppress

from tracker.errors import BadRequest, SettingsError
from tracker.simulator.app import create_app
from tracker.simulator.exchange import Options
from tracker.simulator.faults import Fault
from tracker.simulator.faultspec import KINDS, parse_flag
from tracker.simulator.methods import METHODS
from tracker.simulator.names import PATTERN
from tracker.simulator.serving import HOST, Served, Server, listen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every option of ``tracker simulate``."""
    add = parser.add_argument
    add("--host", default=HOST, help="address to listen on (%(default)s)")
    add("--port", type=_port, help="port to listen on; 0 takes a free one")
    add("--seed", type=int, default=1, help="of the random walks (%(default)s)")
    add("--index", type=_index, action="append", default=[], metavar="NAME", help="know it too")
    add("--fault", action="append", default=[], metavar="KIND[:key=value,…]",
        help=f"a fault from the start: {', '.join(KINDS)}; keys: index, method, seconds, "
             "calls, delay, retry_after, code")  # fmt: skip
    add("--clock-offset", type=float, default=0.0, metavar="SECONDS", help="ahead of the machine")
    add("--testnet", action="store_true", help="say so in every answer")


def run(args: argparse.Namespace, *, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; *port* unless ``--port`` was given.

    Raises SettingsError for a bad fault or a taken port.
    """
    app = create_app(_options(args))
    with listen(args.host, port if args.port is None else args.port) as sock:
        where = Served(*sock.getsockname()[:2])
        server = Server(app, lambda: _announce(where, args.seed))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[sock])


def _announce(where: Served, seed: int) -> None:
    sys.stdout.write(f"simulated exchange at {where.url} (seed {seed}, admin {where.admin_url})\n")
    sys.stdout.flush()


def _options(args: argparse.Namespace) -> Options:
    base = Options(indexes=tuple(args.index))
    names = frozenset(base.names)
    return Options(
        seed=args.seed,
        indexes=base.indexes,
        faults=tuple(_fault(text, names) for text in args.fault),
        clock_offset=args.clock_offset,
        testnet=args.testnet,
    )


def _fault(text: str, indexes: frozenset[str]) -> Fault:
    try:
        return parse_flag(text, indexes=indexes, methods=frozenset(METHODS))
    except BadRequest as error:
        raise SettingsError(f"--fault {text}: {error}") from error


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 1 << 16:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return port


def _index(text: str) -> str:
    if not PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not an index name: {text!r}")
    return text
