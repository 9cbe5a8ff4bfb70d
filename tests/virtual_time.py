"""An event loop whose clock jumps: a conversation of 100 simulated seconds takes a millisecond.

When nothing is ready the clock moves to the next timer. When there is no timer either, nothing can ever happen again,
and that is an error, not a hang. While a worker thread of the loop's executor is busy, the clock stands and the loop
really waits.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREAD_LIMIT_S = 30.0
"""Real seconds for which a busy worker thread is waited for."""
START_S = 1000.0
"""Where the clock starts; not 0, so that forgotten "since the start" arithmetic shows."""


class Deadlock(RuntimeError):
    """Every task waits and nothing can wake one."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on a simulated clock."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.busy_threads = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.busy_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        self.busy_threads += 1  # it joins the threads in one more thread, under a timeout since Python 3.12
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self.busy_threads -= 1

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self.busy_threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and not self._loop.busy_threads and len(self.get_map()) == 1:
            return []  # there is only the loop's own pipe, which threads use
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.busy_threads:
            ready = super().select(THREAD_LIMIT_S)
            if not ready:
                raise Deadlock(f"a worker thread has not come back for {THREAD_LIMIT_S:g} real seconds")
            return ready
        if timeout is None:
            raise Deadlock(
                "deadlock: every task waits and no timer is set; a test that waits for another process, a pty, "
                "a socket or a thread of its own needs the mark real_time"
            )
        # One step further than asked: far from 0 the base loop's tolerance of 1 ns is less than a float can tell, and
        # it would find a timer that is due exactly now not due yet, for ever.
        self._loop.now_s = math.nextafter(self._loop.now_s + timeout, math.inf)
        return ready


def run_test(main: Callable[[], Coroutine[Any, Any, T]], *, real_time: bool = False) -> T:
    """Run a coroutine to its end on a new loop and close the loop.

    Raises:
        AssertionError: an exception was lost in a callback or in a task that nobody awaited.
    """
    lost: list[Mapping[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))
        return await main()

    factory = asyncio.SelectorEventLoop if real_time else VirtualTimeLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(watched())
    if lost:
        first = lost[0]
        raise AssertionError(f"lost in the event loop: {first.get('message')}") from first.get("exception")
    return result
