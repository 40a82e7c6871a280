"""`just mutation`: change the pure modules in small ways, and run their tests on each change.

A mutant that no test notices shows what the tests lack, unless equivalent.toml explains why it
behaves like the original, or which tests with servers test its function. Exits 1 for any other
survivor. mutmut, configured in pyproject.toml, makes and runs the mutants in the folder mutants;
it skips decorated functions and constants.
"""

import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

MUTMUT = Path(sys.executable).with_name("mutmut")
LOG = Path(".local/mutation.log")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
CAUGHT = {"killed", "timeout"}


def main() -> int:
    """Test the mutants, print their number per module, and each survivor without explanation."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        done = subprocess.run([MUTMUT, "run"], stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.stderr.write(f"mutmut failed: see {LOG}\n")
        return 1
    explained = tomllib.loads(EQUIVALENT.read_text())
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    unexplained = []
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, status = line.strip().partition(": ")
        module, _, function = name.rpartition(".")
        if any(each in function for each in explained["elsewhere"]):
            status = "tested elsewhere"
        elif status not in CAUGHT:
            change = shown_change(name)
            status = "equivalent" if change.splitlines()[-1] in explained["equivalent"] else status
            if status != "equivalent":
                unexplained.append(f"\n{name}\n{change}")
        counts[module][status] += 1
    for module, count in sorted(counts.items()):
        parts = ", ".join(f"{number} {status}" for status, number in sorted(count.items()))
        print(f"{module}: {count.total()} mutants: {parts}")
    print("\n".join(unexplained))
    return 1 if unexplained else 0


def mutmut(*words: str) -> str:
    """The output of a command of mutmut."""
    return subprocess.run([MUTMUT, *words], capture_output=True, text=True, check=True).stdout


def shown_change(name: str) -> str:
    """The lines that a mutant removes and adds."""
    lines = mutmut("show", name).splitlines()
    return "\n".join(
        line for line in lines if line[:1] in {"-", "+"} and line[:3] not in {"---", "+++"}
    )


if __name__ == "__main__":
    sys.exit(main())
