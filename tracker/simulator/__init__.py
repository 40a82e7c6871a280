"""A simulated exchange: Deribit's API v2 with synthetic prices and faults on demand."""

from tracker.simulator.exchange import Options
from tracker.simulator.faults import Fault
from tracker.simulator.main import Simulator, add_arguments, run_simulator, running_simulator
from tracker.simulator.prices import price_at

__all__ = (
    "Fault",
    "Options",
    "Simulator",
    "add_arguments",
    "price_at",
    "run_simulator",
    "running_simulator",
)
