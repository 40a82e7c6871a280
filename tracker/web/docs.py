"""The API's description."""

from starlette.responses import Response

from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web.answer.formats import as_json
from tracker.web.asked import params
from tracker.web.openapi import document
from tracker.web.state import AppRequest


async def openapi(request: AppRequest) -> Response:
    """GET /openapi.json: OpenAPI 3.1."""
    params.read(request.query_params, {})
    settings = request.state["settings"]
    try:
        tickers = await request.state["tracked"].names(request.state["database"])
    except (DatabaseDown, MigrationsPending):
        tickers = list(settings.tickers)
    return as_json(document(settings.api_version, tickers))
