"""Recordings of behaviour and of texts: JSON in the tree, compared or, with NET_RECORD=1, written.

A recording is a mapping from the names of cases to what was seen. Behaviour and texts lie apart,
because texts are reworded and behaviour is not: a value in `behaviour` has TEXT in the place of
what stands in `texts` under the same case.
"""

import json
import os
from collections.abc import Mapping
from difflib import unified_diff
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
RECORDING = os.environ.get("NET_RECORD") == "1"
TEXT = "<text>"
SHOWN_LINES = 40  # of the differences of one case
SHOWN_CASES = 20
LONG_BODY = 2_000  # characters; what is longer is recorded by its hash
SHOWN_ENDS = 3  # lines of a long body, at its start and at its end

Cases = Mapping[str, Any]


def check(name: str, behaviour: Cases, texts: Cases | None = None) -> None:
    """Compare the cases of one test with the recordings *name*, or write these recordings.

    Fails with the differences of each case. Values are JSON; texts may be None where none are.
    """
    found = {"behaviour": behaviour, "texts": texts or {}}
    if RECORDING:
        for kind, cases in found.items():
            _write(FOLDER / kind / f"{name}.json", cases)
        return
    differences = [
        text
        for kind, cases in found.items()
        for text in _differences(kind, _load_cases(FOLDER / kind / f"{name}.json"), cases)
    ]
    if differences:
        shown = "\n".join(differences[:SHOWN_CASES])
        pytest.fail(f"{len(differences)} cases of {name} differ\n{shown}", pytrace=False)


def shortened(text: str) -> Any:
    """*text*, or, where it is long, its hash, length, first and last lines."""
    if len(text) <= LONG_BODY:
        return text
    lines = text.splitlines()
    return {
        "sha256": sha256(text.encode()).hexdigest(),
        "length": len(text.encode()),
        "lines": len(lines),
        "first": [line[:200] for line in lines[:SHOWN_ENDS]],
        "last": [line[-200:] for line in lines[-SHOWN_ENDS:]],
    }


def shape(value: Any) -> Any:
    """The structure of a JSON value whose content varies: its keys, and the types of its leaves."""
    if isinstance(value, Mapping):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for each in map(shape, value):
            if each not in shapes:
                shapes.append(each)
        return shapes
    return f"<{type(value).__name__}>"


def _load_cases(path: Path) -> Cases:
    found: Cases = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write(path: Path, cases: Cases) -> None:
    path.parent.mkdir(exist_ok=True)
    if cases:
        path.write_text(_rendered(cases))
    else:
        path.unlink(missing_ok=True)


def _differences(kind: str, recorded: Cases, seen: Cases) -> list[str]:
    seen = json.loads(_rendered(seen))  # tuples become lists, as in the file
    names = [*recorded, *(name for name in seen if name not in recorded)]
    return [
        _difference(f"{kind}: {name}", recorded.get(name), seen.get(name))
        for name in names
        if name not in recorded or name not in seen or recorded[name] != seen[name]
    ]


def _difference(title: str, recorded: Any, seen: Any) -> str:
    before, after = (_rendered(value).splitlines() for value in (recorded, seen))
    lines = list(unified_diff(before, after, "recorded", "seen", n=1, lineterm=""))
    cut = [f"… {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
    return "\n".join([f"\n== {title}", *lines[:SHOWN_LINES], *cut])


def _rendered(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
