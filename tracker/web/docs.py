"""The API's description, and Swagger UI from this machine: nothing is fetched from elsewhere."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from tracker.errors import DatabaseDown, MigrationsPending
from tracker.web import params
from tracker.web.openapi import document
from tracker.web.state import AppRequest
from tracker.web.wire import as_json

# Found, not imported: importing offapi reads all its nine megabytes into memory.
_OFFAPI = find_spec("offapi")
assert _OFFAPI is not None
assert _OFFAPI.origin is not None
_FOLDER = Path(_OFFAPI.origin).parent

_ASSETS = {"swagger_bundle.js": "text/javascript", "swagger_style.css": "text/css"}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Deribit price tracker: API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="docs/swagger_style.css">
</head>
<body>
  <div id="ui"></div>
  <script src="docs/swagger_bundle.js"></script>
  <script>
    SwaggerUIBundle({
      url: "openapi.json", dom_id: "#ui", validatorUrl: null, tryItOutEnabled: true,
    })
  </script>
</body>
</html>
"""


async def openapi(request: AppRequest) -> Response:
    """GET /openapi.json: OpenAPI 3.1."""
    params.read(request.query_params, {})
    settings = request.state["settings"]
    try:
        tickers = await request.state["tracked"].names(request.state["database"])
    except (DatabaseDown, MigrationsPending):
        tickers = list(settings.tickers)
    return as_json(document(settings.api_version, tickers))


async def page(request: AppRequest) -> Response:
    """GET /docs: a page to read and try the API."""
    params.read(request.query_params, {})
    return HTMLResponse(_PAGE)


async def asset(request: AppRequest) -> Response:
    """GET /docs/{name}: a file of Swagger UI."""
    params.read(request.query_params, {})
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    return Response(_read(name), 200, {"Cache-Control": "max-age=86400"}, _ASSETS[name])


@cache
def _read(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()
