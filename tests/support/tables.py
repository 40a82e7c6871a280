"""Arrow and Parquet, as polars reads them, which shares no code with what writes them."""

import io

import polars as pl

MEDIA_TYPES = {
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


def read_table(name: str, content: bytes) -> pl.DataFrame:
    """The table that *content* is in the format *name*, one of MEDIA_TYPES."""
    read = pl.read_ipc_stream if name == "arrow" else pl.read_parquet
    return read(io.BytesIO(content))
