"""Values as they cross the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from starlette.responses import Response

from tracker.models import Price, SourcedPrice

COLUMNS = ("id", "ticker", "price", "created_at")


def shown(price: Price, extras: Sequence[str] = ()) -> dict[str, object]:
    """A price as a JSON object; the number is a string, because JSON's numbers are not exact.

    *extras* are those of params.EXTRAS to add; only a SourcedPrice has them.
    """
    keys: dict[str, object] = {
        "id": price.id,
        "ticker": price.ticker,
        "price": f"{price.price:f}",
        "created_at": rfc3339(price.created_at),
    }
    return keys | {name: _extra(price, name) for name in extras}


def _extra(price: Price, name: str) -> str | None:
    """Moments with their microseconds, all six digits."""
    assert isinstance(price, SourcedPrice)  # it was read because it is shown
    if name == "source":
        return price.source
    seen = price.observed_at
    return None if seen is None else seen.isoformat(timespec="microseconds")[:-6] + "Z"


def rfc3339(moment: datetime) -> str:
    """*moment*, which is in UTC, as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def as_json(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """*content* as an answer."""
    return Response(orjson.dumps(content), 200, headers, "application/json")
