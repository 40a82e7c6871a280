"""Arrow and Parquet, which arro3 writes from pieces that need no Python object for a value.

A piece is an index and rows of it: their number, created_at of each in microseconds since 1970, and
their other columns as lines of CSV. Numbers are big-endian, as PostgreSQL sends them.

arro3 is the optional extra `arrow`, and is imported by the first use. Sources:
https://arrow.apache.org/docs/format/Columnar.html, whose streams it compresses with LZ4, and
https://parquet.apache.org/docs/file-format.
"""

import io
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, TypeAlias

from tracker.times import EPOCH

if TYPE_CHECKING:
    from arro3.core import DataType, RecordBatchReader

Piece: TypeAlias = tuple[str, bytes]

MISSING = "Arrow and Parquet need the extra: pip install 'deribit-price-tracker[arrow]'"
FORMATS = ("arrow", "parquet")
PRICE_TYPES = ("decimal", "float64")

# decimal(38, 18) is the default of Spark. It has more digits before the point than
# models.exact_price allows; those after the eighteenth behind it are cut off.
_PRECISION, _DECIMALS = 38, 18
_TIMES = ("created_at", "observed_at")
_MICROSECOND = timedelta(microseconds=1)
_ROW_GROUP = 262_144  # rows: the writer holds those of one in memory, 8 MB


def is_installed() -> bool:
    """Whether the extra is installed."""
    return find_spec("arro3") is not None and find_spec("arro3.io") is not None


def count_rows(rows: bytes) -> int:
    """The number of *rows*."""
    return int.from_bytes(rows[:4], "big")


def pack_rows(moments: Iterable[datetime], lines: str) -> bytes:
    """Rows at *moments*; *lines* have the other columns."""
    minutes = array("q", ((moment - EPOCH) // _MICROSECOND for moment in moments))
    minutes.byteswap()
    return len(minutes).to_bytes(4, "big") + minutes.tobytes() + lines.encode()


def first_and_last(rows: bytes) -> tuple[datetime, ...]:
    """The moments of the first and of the last of *rows*; empty without any."""
    numbers = array("q", rows[4 : 4 + 8 * count_rows(rows)])
    numbers.byteswap()
    return tuple(EPOCH + number * _MICROSECOND for number in (*numbers[:1], *numbers[-1:]))


def read_rows(file: Path, end: datetime) -> bytes:
    """Rows before *end* of a Parquet file of created_at, price, source and observed_at."""
    from arro3.io import read_parquet

    table = read_parquet(file).read_all()
    columns = [table.column(name) for name in ("created_at", "price", "source", "observed_at")]
    moments, *others = (column.to_pylist() for column in columns)
    count = bisect_left(moments, end)
    lines = "".join(
        f"{price:f},{source},{(seen - EPOCH) // _MICROSECOND if seen else ''}\n"
        for price, source, seen in islice(zip(*others, strict=True), count)
    )
    return pack_rows(moments[:count], lines)


def write_pieces(
    pieces: Iterable[Piece],
    columns: Sequence[str],
    sink: IO[bytes],
    file_format: str,
    *,
    price_type: str = "decimal",
    named: bool = True,
    level: int = 3,
) -> None:
    """Write *pieces* to *sink*, without seeking, in one of FORMATS; arrow is a stream.

    columns: those of the lines; prices are of *price_type*, other times than created_at are
        microseconds too.
    named: whether the first column is the index.
    level: of Parquet's compression, zstd.
    Raises what *pieces* and *sink* raise.
    """
    guard = _Guard(sink)
    try:
        batches = _convert(guard.watch(pieces), columns, price_type, named=named)
        _write_batches(batches, guard, file_format, level)
    except BaseException:  # arro3 wraps each as its own
        if guard.error:
            raise guard.error from None
        raise


class _Guard(io.BytesIO):
    """A sink that remembers the first error of it or of pieces, which arro3 does not."""

    def __init__(self, sink: IO[bytes]) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._sink = sink

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # arro3 writes bytes
        try:
            return self._sink.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        try:
            yield from pieces
        except BaseException as error:
            self.error = self.error or error
            raise


def _convert(
    pieces: Iterable[Piece],
    columns: Sequence[str],
    price_type: str,
    *,
    named: bool,
) -> "RecordBatchReader":
    """A batch of each of *pieces*."""
    from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
    from arro3.io import read_csv

    names = ("ticker", "created_at", *columns) if named else ("created_at", *columns)
    types = {name: _column_type(name, price_type) for name in names}
    parsed = {name: DataType.int64() if name in _TIMES else types[name] for name in columns}
    lines_schema = Schema([Field(name, each) for name, each in parsed.items()])
    schema = Schema(
        [Field(name, each, nullable=name == "observed_at") for name, each in types.items()]
    )

    def convert() -> Iterator[RecordBatch]:
        for ticker, rows in pieces:
            count = count_rows(rows)
            end = 4 + 8 * count
            minutes = array("q", rows[4:end])
            minutes.byteswap()
            lines = io.BytesIO(rows[end:])
            [batch] = read_csv(lines, lines_schema, has_header=False, batch_size=count)
            arrays = [Array(minutes), *batch.columns]
            if named:
                arrays.insert(0, Array([ticker] * count, DataType.utf8()))
            typed = [each.cast(kind) for each, kind in zip(arrays, types.values(), strict=True)]
            yield RecordBatch.from_arrays(typed, schema=schema)

    return RecordBatchReader.from_batches(schema, convert())


def _column_type(name: str, price_type: str) -> "DataType":
    from arro3.core import DataType

    if name in _TIMES:
        return DataType.timestamp("us", tz="UTC")
    if name in {"ticker", "source"}:
        return DataType.utf8()
    if name == "samples":
        return DataType.int32()
    if price_type == "float64":
        return DataType.float64()
    return DataType.decimal128(_PRECISION, _DECIMALS)


def _write_batches(
    batches: "RecordBatchReader", sink: IO[bytes], file_format: str, level: int
) -> None:
    from arro3.io import write_ipc_stream, write_parquet

    if file_format == "arrow":
        write_ipc_stream(batches, sink)
        return
    times = [name for name in _TIMES if name in batches.schema.names]
    write_parquet(
        batches,
        sink,
        compression=f"zstd({level})",
        column_encoding=dict.fromkeys(times, "delta_binary_packed"),
        column_dictionary_enabled=dict.fromkeys(times, False),
        max_row_group_size=_ROW_GROUP,
    )


class Encoder:
    """Encodes rows as they come, with the methods of a compressor of zlib.

    arro3 reads rows and writes bytes by itself, therefore it has a thread, which works only while
    one of these methods waits for it.
    """

    def __init__(
        self, columns: Iterable[str], price_type: str, file_format: str, *, ticker: str
    ) -> None:
        """Encode prices of *ticker*, as `write_pieces` does."""
        self._columns, self._price_type = tuple(columns), price_type
        self._file_format, self._ticker = file_format, ticker
        self._rows: SimpleQueue[bytes] = SimpleQueue()
        self._encoded: SimpleQueue[BaseException | None] = SimpleQueue()
        self._sink = io.BytesIO()
        self._thread = Thread(target=self._run, name="encoder", daemon=True)

    def compress(self, rows: bytes) -> bytes:
        """The bytes that are complete with these *rows*; none while Parquet collects more."""
        if not self._thread.ident:
            self._thread.start()
        self._rows.put(rows)
        if error := self._encoded.get():
            raise error
        encoded = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return encoded

    def flush(self) -> bytes:
        """The rest."""
        return self.compress(b"")

    def close(self) -> None:
        """End the thread, also in the middle of an export."""
        self._rows.put(b"")

    def _run(self) -> None:
        error = None
        try:
            write_pieces(
                self._received(),
                self._columns,
                self._sink,
                self._file_format,
                price_type=self._price_type,
            )
        except BaseException as raised:  # noqa: BLE001 -- `compress` raises it
            error = raised
        self._encoded.put(error)

    def _received(self) -> Iterator[Piece]:
        while rows := self._rows.get():
            yield self._ticker, rows
            self._encoded.put(None)
