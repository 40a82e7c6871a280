"""A stand-in for the exchange: Deribit's API v2, with prices of its own and faults on demand."""

from tracker.simulator.app import create_app
from tracker.simulator.exchange import Options
from tracker.simulator.faults import Fault
from tracker.simulator.main import add_arguments, run
from tracker.simulator.serving import Served, serve
from tracker.simulator.walk import price_at

__all__ = (
    "Fault",
    "Options",
    "Served",
    "add_arguments",
    "create_app",
    "price_at",
    "run",
    "serve",
)
