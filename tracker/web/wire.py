"""Values as they cross the wire."""

from collections.abc import Mapping
from datetime import datetime

import orjson
from starlette.responses import Response

from tracker.models import Price


def shown(price: Price) -> dict[str, object]:
    """A price as a JSON object; the number is a string, because JSON's numbers are not exact."""
    return {
        "id": price.id,
        "ticker": price.ticker,
        "price": f"{price.price:f}",
        "created_at": rfc3339(price.created_at),
    }


def rfc3339(moment: datetime) -> str:
    """*moment*, which is in UTC, as 2024-01-15T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def as_json(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """*content* as an answer."""
    return Response(orjson.dumps(content), 200, headers, "application/json")
