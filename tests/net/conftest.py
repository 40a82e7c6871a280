"""The fixtures of the net: one product for the session, with fixed data and a running API."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.net import data
from tests.net.product import Product, Web, running_product

_INSERT_MISS = (
    "INSERT INTO misses (ticker, minute, reason, code, attempts, at)"
    " VALUES (%s, %s, %s, %s, %s, %s)"
)


@pytest.fixture(scope="session")
def empty_product() -> Iterator[Product]:
    """A product whose database has the schema and no row; use `product`, or another database."""
    with running_product() as product:
        yield product


@pytest.fixture(scope="session")
def product(empty_product: Product) -> Product:
    """A product with the fixed data; no test may change them."""
    file = empty_product.folder / "prices.csv"
    file.write_text("".join(f"{line}\n" for line in data.lines()))
    empty_product.done("import", str(file))
    with psycopg.connect(empty_product.dsn) as conn:
        conn.cursor().executemany(_INSERT_MISS, list(data.misses()))
    return empty_product


@pytest.fixture(scope="session")
def web(product: Product) -> Iterator[Web]:
    """The API of that product, with default settings."""
    with product.web() as web:
        yield web
