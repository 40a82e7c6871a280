"""A page on every kind of error, which problem types point to."""

from html import escape

from starlette.responses import HTMLResponse, Response

from tracker.web.answer.kinds import KINDS
from tracker.web.asked import params
from tracker.web.state import AppRequest

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Deribit price tracker: errors</title>
</head>
<body>
  <main>
    <h1>Errors</h1>
    <p>Each error is an <code>application/problem+json</code> (RFC 9457). Its <code>errors</code>
    name every culprit and the reason; its <code>request_id</code> leads to the line in the log.</p>
{sections}
  </main>
</body>
</html>
"""

_SECTION = """    <section id="{anchor}">
      <h2>{code} {title}</h2>
      <p>{meaning}</p>
      <p>{remedy}</p>
    </section>"""


async def problems(request: AppRequest) -> Response:
    """GET /problems: what each kind of error means."""
    params.read(request.query_params, {})
    sections = (
        _SECTION.format(
            anchor=kind.anchor,
            code=status.value,
            title=escape(status.phrase),
            meaning=escape(kind.meaning),
            remedy=escape(kind.remedy),
        )
        for status, kind in KINDS.items()
    )
    return HTMLResponse(_PAGE.format(sections="\n".join(sections)))
