"""The headers of a request, as ASGI has them: bytes."""

from starlette.types import Scope


def asked(scope: Scope, name: bytes) -> bytes:
    """The header of that lower-case *name*; several lines are one. Empty if there is none."""
    return b",".join(value for each, value in scope["headers"] if each == name)
