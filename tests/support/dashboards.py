"""The queries of the dashboards, expanded as Grafana expands them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker.settings import CHECKOUT

GRAFANA = CHECKOUT / "ops/grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}


@dataclass(frozen=True)
class Query:
    """A query of a panel, as it is written in the dashboard."""

    board: str
    panel: str
    ref: str
    text: str

    def __str__(self) -> str:
        """Its name in test ids."""
        return f"{self.board}: {self.panel}: {self.ref}"


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panels that are no rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(source: str, field: str) -> list[Query]:
    """Every query to the data source with this uid; *field* contains its text."""
    return [
        Query(name, panel["title"], target["refId"], target[field])
        for name, board in BOARDS.items()
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["uid"] == source
    ]


def expanded_sql(
    text: str, since: datetime, until: datetime, variables: Mapping[str, str], step: str = "1m"
) -> str:
    """*text* with Grafana's macros and variables replaced, as its PostgreSQL source does."""
    first, last = (f"'{moment.isoformat()}'" for moment in (since, until))
    text = re.sub(r"\$__timeFilter\(([^)]+)\)", rf"\1 BETWEEN {first} AND {last}", text)
    text = text.replace("$__timeFrom()", first).replace("$__timeTo()", last)
    text = text.replace("$__interval", step)
    for name, value in variables.items():
        text = text.replace(f"${{{name}:sqlstring}}", "'" + value.replace("'", "''") + "'")
    assert "$" not in text, text
    return text


def expanded_promql(text: str, step: str = "1m") -> str:
    """*text* with its only macro replaced."""
    text = text.replace("$__rate_interval", step)
    assert "$" not in text, text
    return text
