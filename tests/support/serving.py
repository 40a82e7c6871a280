"""Old names of tests.support.api."""

from tests.support.api import ANCHORS, linked_url
from tests.support.api import error_reasons as problem
from tests.support.api import serve_api as served

__all__ = ["ANCHORS", "linked_url", "problem", "served"]
