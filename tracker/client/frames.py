"""DataFrames of Arrow, by polars or pandas, which the client imports when it needs them."""

import io
from typing import Any, Literal

Library = Literal["polars", "pandas"]


def read_frame(content: bytes, library: Library) -> Any:
    """The DataFrame that an Arrow stream is. Raises ImportError without *library*."""
    if library == "pandas":
        from pyarrow.ipc import open_stream  # noqa: PLC0415 -- pandas reads Arrow by it

        return open_stream(content).read_pandas()
    import polars as pl  # noqa: PLC0415 -- the client needs none itself

    return pl.read_ipc_stream(io.BytesIO(content))
