"""What answers of the paths that count say of a client's limit, if it has one."""

from tracker.web.asked.counted import COUNTED
from tracker.web.openapi.parts import Schema, refer_headers

_TOLD = refer_headers("RateLimit", "RateLimit-Policy")
_REFUSED = {"429": {"$ref": "#/components/responses/429"}}


def limited(paths: Schema) -> Schema:
    """*paths*, with the refusal of one request too many, and with what is left."""
    return {
        path: _limited(item) if path.startswith(COUNTED) else item for path, item in paths.items()
    }


def _limited(item: Schema) -> Schema:
    answers = item["get"]["responses"]
    found = {**answers["200"], "headers": answers["200"]["headers"] | _TOLD}
    return {"get": {**item["get"], "responses": {**answers, "200": found, **_REFUSED}}}
