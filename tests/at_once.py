"""Tests that mostly wait, for a line or for other processes, begin together: `@pytest.mark.at_once`.

Such a test takes its parameters and `tmp_path` and nothing else, since it runs in a thread. The first one that comes
begins all that were selected; they come last, so that no test which looks at the clock runs beside them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

MARK = (
    "at_once(seconds=0): mostly waits, and so runs in a thread beside the others with this mark; those that take long"
    " (`seconds`, alone) begin first"
)
LIMIT = 6
"""So many run at a time. More would wait for the processors, and a device that answers late is another test."""


class AtOnce:
    """The tests that were begun."""

    def __init__(self, pool: ThreadPoolExecutor, new_folder: Callable[[], Path]) -> None:
        self._pool = pool
        self._new_folder = new_folder
        self._begun: dict[str, Future[None]] = {}

    def run(self, item: pytest.Function) -> None:
        """Begin all if none was begun yet; wait for this one, and raise what it raised."""
        if not self._begun:
            chosen = [each for each in item.session.items if isinstance(each, pytest.Function) and waits(each)]
            self._begun = {each.nodeid: self._begin(each) for each in chosen if not skipped(each)}
        self._begun[item.nodeid].result()

    def _begin(self, item: pytest.Function) -> Future[None]:
        given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        needed = set(inspect.signature(item.function).parameters)
        if "tmp_path" in needed:
            given["tmp_path"] = self._new_folder()
        assert needed == set(given), f"{item.nodeid} runs beside others: it can have no fixture but tmp_path"
        assert not inspect.iscoroutinefunction(item.function), f"{item.nodeid} runs in a thread: it cannot be async"
        return self._pool.submit(item.function, **given)


def waits(item: pytest.Item) -> bool:
    """Tell whether a test has the mark."""
    return item.get_closest_marker("at_once") is not None


def order(item: pytest.Item) -> tuple[bool, float]:
    """Return a key that sorts tests as they have to come; all without the mark are equal."""
    return waits(item), -seconds(item)


def seconds(item: pytest.Item) -> float:
    """Return how long a test takes, as its mark says."""
    mark = item.get_closest_marker("at_once")
    return float(mark.kwargs.get("seconds", 0)) if mark is not None else 0.0


def skipped(item: pytest.Item) -> bool:
    """Tell whether a mark with a plain condition skips a test."""
    return any(mark.args and mark.args[0] for mark in item.iter_markers("skipif"))


@pytest.fixture(scope="session", autouse=True)
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtOnce]:
    """Hold the tests that were begun, until the end."""
    pool = ThreadPoolExecutor(LIMIT)
    try:
        yield AtOnce(pool, functools.partial(tmp_path_factory.mktemp, "at-once"))
    finally:
        pool.shutdown(cancel_futures=True)
