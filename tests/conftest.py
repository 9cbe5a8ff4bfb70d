"""Async tests without a plugin: on a virtual clock, or on a real one with the mark real_time."""

from __future__ import annotations

import functools
import inspect
import signal
from typing import Any

import pytest
from at_once import MARK, at_once, order, waits
from virtual_time import run_test

__all__ = ["at_once"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "real_time: an async test on the real clock, because a pty or socket is its subject"
    )
    config.addinivalue_line("markers", MARK)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=order)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if waits(pyfuncitem):
        pyfuncitem.funcargs["at_once"].run(pyfuncitem)
        return True
    real_time = pyfuncitem.get_closest_marker("real_time") is not None
    test = pyfuncitem.obj
    # hypothesis calls its inner test once per example, without awaiting it
    inner = getattr(getattr(test, "hypothesis", None), "inner_test", None)
    if inspect.iscoroutinefunction(inner):
        test.hypothesis.inner_test = _synchronous(inner, real_time=real_time)
        return None
    if not inspect.iscoroutinefunction(test):
        return None
    given = {
        name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters if name in pyfuncitem.funcargs
    }
    run_test(functools.partial(test, **given), real_time=real_time)
    return True


def _synchronous(test: Any, *, real_time: bool) -> Any:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_test(functools.partial(test, *args, **kwargs), real_time=real_time)

    return run


def pytest_sessionstart() -> None:
    """A run in the background of a script ignores Ctrl-C, and so would the programs that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN:
        signal.signal(hangup, signal.SIG_DFL)
