"""Pages for people, and the files they are made of: ours, and those that npm brought.

Nothing comes from another host, and the browser is told so.
Source: Content Security Policy Level 3.
"""

import sys
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response

from tracker.errors import NotNow
from tracker.web.asked import params
from tracker.web.state import AppRequest

_OURS = Path(__file__).parent.parent / "page"
_NPM = Path(sys.prefix) / "npm" / "node_modules"  # ops/venv puts it there

# What a page may ask for by a short name. Their licenses lie beside them.
_BROUGHT = {
    "lightweight-charts.js": "lightweight-charts/dist/lightweight-charts.standalone.production.mjs",
    "lightweight-charts.txt": "lightweight-charts/LICENSE",
    "swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "swagger-ui.txt": "swagger-ui-dist/LICENSE",
}

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked about: a new version shows at once
    "Content-Security-Policy": _POLICY,
}


async def page(request: AppRequest) -> Response:
    """GET /: prices as they come, their chart, and how the service does."""
    params.read(request.query_params, {})
    _require("lightweight-charts.js")
    return _answer(_OURS / "index.html")


async def docs(request: AppRequest) -> Response:
    """GET /docs: a page to read and try the API."""
    params.read(request.query_params, {})
    _require("swagger-ui.js")
    return _answer(_OURS / "docs.html")


async def file(request: AppRequest) -> Response:
    """GET /page/{name}: a file of these pages."""
    params.read(request.query_params, {})
    name = request.path_params["name"]
    if name not in names():
        raise HTTPException(404)
    return _answer(_NPM / _BROUGHT[name] if name in _BROUGHT else _OURS / name)


def names() -> list[str]:
    """The files that pages may ask for."""
    ours = (path.name for path in _OURS.iterdir() if path.suffix in {".css", ".js", ".svg"})
    return sorted([*ours, *(name for name in _BROUGHT if _is_brought(name))])


def _require(name: str) -> None:
    """A page without its main part would be blank. Raises NotNow."""
    if not _is_brought(name):
        raise NotNow({"npm": f"did not bring {name}: run ops/venv where its registry is in reach"})


def _is_brought(name: str) -> bool:
    return (_NPM / _BROUGHT[name]).is_file()


def _answer(path: Path) -> Response:
    media_type = MEDIA_TYPES[path.suffix.replace(".mjs", ".js") or ".txt"]
    return Response(path.read_bytes(), 200, _HEADERS, media_type)
