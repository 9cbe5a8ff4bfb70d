"""Show how far a long operation is: a bar on a terminal, JSON lines for front ends, else nothing.

Operations are async generators that yield `Progress` and at last what they found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

from lockmigrate.cli.options import Common
from lockmigrate.cli.words import to_stderr
from lockmigrate.model.results import Progress

T = TypeVar("T")

PROGRESS_SCHEMA: Final = "lockmigrate.progress/1"
SHOW_AFTER_S: Final = 1.0
"""What is over sooner needs no bar."""


async def drain(events: AsyncIterator[Progress | T], common: Common) -> T:
    """Run an operation to its end, showing its progress, and return its last item that is not `Progress`.

    The terminal is left clean however it ends. The generator is closed, so that its `finally` has run on return.

    Raises:
        whatever the operation raises.
    """
    found: list[T] = []
    show = _chosen(common)
    try:
        async for event in events:
            if isinstance(event, Progress):
                show.update(event)
            else:
                found[:] = [event]
    finally:
        show.close()
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
    if not found:
        raise RuntimeError("the operation ended without a result")
    return found[0]


class _Nothing:
    """Shows nothing, and is what the others refine."""

    def update(self, event: Progress) -> None:
        """Take the next step."""

    def close(self) -> None:
        """Leave nothing on the terminal."""


class _Lines(_Nothing):
    def update(self, event: Progress) -> None:
        document = {
            "schema": PROGRESS_SCHEMA,
            "stage": event.stage,
            "done": event.done,
            "total": event.total,
            "size_bytes": event.size_bytes,
        }
        to_stderr(json.dumps(document))


class _Bar(_Nothing):
    """A bar that appears once the operation has lasted `SHOW_AFTER_S`, even if nothing happens just then."""

    def __init__(self) -> None:
        self._event: Progress | None = None
        self._stage_began_s = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(SHOW_AFTER_S, self._show)

    def update(self, event: Progress) -> None:
        if self._event is None or self._event.stage != event.stage:
            self._stage_began_s = time.monotonic()
            if self._bar is not None:
                self._bar.reset(self._task, total=event.total)
        self._event = event
        self._draw()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._bar is not None:
            # Ctrl-C while rich draws must not leave the cursor hidden.
            with contextlib.suppress(OSError):
                self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        self._timer = None
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}", markup=False),
            progress.TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None, rate="")
        self._draw()
        self._bar.start()

    def _draw(self) -> None:
        if self._bar is None or self._event is None:
            return
        event = self._event
        self._bar.update(
            self._task,
            description=event.stage,
            completed=event.done,
            total=event.total or None,
            rate=rate_text(event, time.monotonic() - self._stage_began_s),
        )


def rate_text(event: Progress, elapsed_s: float) -> str:
    """Return `12.3 kB/s` where bytes move, else `4.1 records/s`; empty while nothing can be said."""
    if elapsed_s < SHOW_AFTER_S / 4 or not event.done:
        return ""
    if event.size_bytes:
        return f"{event.size_bytes / elapsed_s / 1000:.1f} kB/s"
    return f"{event.done / elapsed_s:.1f} records/s"


def _chosen(common: Common) -> _Nothing:
    if common.progress == "json":
        return _Lines()
    # With -v the log lines say how far it is; a bar between them would tear.
    if common.progress == "auto" and not common.verbose and sys.stderr.isatty():
        return _Bar()
    return _Nothing()
