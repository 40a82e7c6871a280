"""Internal errors: nothing leaks to the client, and the log has the reason."""

import re

import psycopg

from tests.support.api import error_reasons, serve_api
from tests.support.database import create_database
from tests.support.logs import capture_log
from tracker.settings import Settings


def test_internal_error_leaks_nothing(servers: Settings) -> None:
    """The log has the reason under the request's id."""
    with create_database(servers) as broken, psycopg.connect(broken.database_dsn) as conn:
        conn.execute(
            "CREATE VIEW prices AS SELECT id, 'secret' AS ticker, now() AS created_at,"
            " 1.50 / (id - id) AS price FROM (SELECT 1 AS id) AS one"
        )
        conn.commit()
        with (
            capture_log("ERROR", "{extra[request_id]} {message}") as lines,
            serve_api(broken.changed(cors_origins="*")) as client,
        ):
            responses = [client.get("/prices/last?ticker=btc_usd") for _ in range(3)]
            live = client.get("/health/live")
            counted = client.get("/metrics").text

    assert [error_reasons(response, 500) for response in responses] == [
        {"server": "an internal error"}
    ] * 3
    assert not re.search(
        "division|SELECT|psycopg|Traceback|secret", responses[0].text, re.IGNORECASE
    )
    assert live.status_code == 200
    assert 'tracker_http_requests_total{endpoint="last",method="GET",status="500"} 3.0' in counted
    assert responses[0].headers["access-control-allow-origin"] == "*"
    assert responses[0].headers["x-content-type-options"] == "nosniff"
    assert responses[0].headers["content-security-policy"].startswith("default-src 'none'")
    for response, line in zip(responses, lines, strict=True):
        assert line.startswith(f"{response.headers['x-request-id']} a request failed")
        assert "division by zero" in line
