"""Old names of tests.support.reference and .database."""

from tests.support.database import insert_misses as miss
from tests.support.database import insert_prices as store
from tests.support.reference import EPOCH, Series
from tests.support.reference import bucket_returns as changes
from tests.support.reference import bucket_start as bucket
from tests.support.reference import find_gaps as gaps
from tests.support.reference import group_prices as buckets
from tests.support.reference import next_bucket as after
from tests.support.reference import random_walk as walk

__all__ = [
    "EPOCH", "Series", "after", "bucket", "buckets", "changes", "gaps", "miss", "store", "walk",
]  # fmt: skip
