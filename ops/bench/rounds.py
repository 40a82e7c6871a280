"""Rounds: every side once, and again, so that what a machine does meanwhile meets all of them."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def alternate(count: int, *sides: Callable[[], T], warm: bool = True) -> list[list[T]]:
    """What each of *sides* gave in *count* rounds: a list for each side.

    One round before them warms all up and is forgotten. Every second round goes backwards, so
    that no side is always the one that comes first.
    """
    found: list[list[T]] = [[] for _ in sides]
    if warm:
        for side in sides:
            side()
    for number in range(count):
        order = list(zip(found, sides, strict=True))
        for results, side in order[:: -1 if number % 2 else 1]:
            results.append(side())
    return found
