"""Old names of tests.support.stream."""

from tests.support.stream import StreamClient as Following
from tests.support.stream import StreamEvent as Told
from tests.support.stream import open_stream as following

__all__ = ["Following", "Told", "following"]
