"""Pages (/, /docs, /problems) and the files that they load.

Their policy allows no other host. Their references are relative, and resolve under any prefix.
Links to them may have parameters of others (utm_source), which are ignored.
Source: Content Security Policy Level 3.
"""

import sys
from pathlib import Path

from starlette.responses import HTMLResponse, Response

from tracker.errors import NotFound, ServiceUnavailable, shorten
from tracker.settings import INSTALLED
from tracker.web.endpoint import AppRequest, endpoint
from tracker.web.params import NoQuery
from tracker.web.problems import problems_page

_PAGE = Path(__file__).parent / "page"
# A wheel contains the packages; for a checkout ops/venv installs them into .venv.
_NPM = _PAGE / "npm" if INSTALLED else Path(sys.prefix) / "npm" / "node_modules"

# Files of npm packages by the names that pages load them by; their licenses lie beside them.
_PACKAGED = {
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
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    "": "text/plain",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # a new version is loaded at once
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
}


def file_names() -> list[str]:
    """The files that pages may load."""
    ours = (path.name for path in _PAGE.iterdir() if path.suffix in {".css", ".js", ".svg"})
    return sorted([*ours, *(name for name in _PACKAGED if _is_installed(name))])


def _is_installed(name: str) -> bool:
    return (_NPM / _PACKAGED[name]).is_file()


@endpoint("/docs", "docs", ignore_unknown=True)
async def get_docs(_request: AppRequest, _query: NoQuery) -> Response:
    """Swagger UI."""
    _require("swagger-ui.js")
    return _file_response(_PAGE / "docs.html")


@endpoint("/problems", "problems", ignore_unknown=True)
async def get_problems(_request: AppRequest, _query: NoQuery) -> Response:
    """The explanations that problem types refer to."""
    return HTMLResponse(problems_page())


@endpoint("/", "page", ignore_unknown=True)
async def get_page(_request: AppRequest, _query: NoQuery) -> Response:
    """The page."""
    _require("lightweight-charts.js")
    return _file_response(_PAGE / "index.html")


PAGES = (get_docs, get_problems, get_page)


@endpoint("/page/{name}", "file", ignore_unknown=True)
async def get_file(request: AppRequest, _query: NoQuery) -> Response:
    """One file. Raises NotFound."""
    name = request.path_params["name"]
    if name not in file_names():
        raise NotFound({"path": f"does not exist: {shorten(request.scope['path'])!r}"})
    return _file_response(_NPM / _PACKAGED[name] if name in _PACKAGED else _PAGE / name)


async def redirect_page(request: AppRequest) -> Response:
    """307 to the path of a page that differs by the slash at its end.

    The reference is relative, like all: it resolves under any prefix.
    """
    path = request.scope["raw_path"].decode("latin-1")
    name = path.rstrip("/").rpartition("/")[2]
    target = f"../{name}" if path.endswith("/") else f"./{name}/"
    query = request.scope["query_string"].decode("latin-1")
    return Response(None, 307, {"Location": f"{target}?{query}" if query else target})


def _require(name: str) -> None:
    """A page without its main part would be blank. Raises ServiceUnavailable."""
    if not _is_installed(name):
        work = "build the package again" if INSTALLED else "run ops/venv"
        why = f"{name} is not installed: {work} where the npm registry can be reached"
        raise ServiceUnavailable({"npm": why})


def _file_response(path: Path) -> Response:
    return Response(path.read_bytes(), 200, _HEADERS, MEDIA_TYPES[path.suffix])
