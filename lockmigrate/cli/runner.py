"""Run one command: the event loop, the signals, what goes to stderr beside the result."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import click

from lockmigrate.cli import TARGET_NOTE
from lockmigrate.cli.options import Context
from lockmigrate.cli.words import say


def perform(function: Callable[..., Any], context: Context, given: dict[str, Any]) -> int:
    """Call a command function, drive its coroutine, render its result; return the exit code.

    Raises:
        LockmigrateError: from the command, or (exit 10) after its document was printed.
    """
    for name in ("target", "old", "source"):
        if isinstance(given.get(name), str):
            note_target(given[name])
            break
    if context.common.verbose:
        _start_logging(context.common.verbose)
    if context.unit.trace is not None and not context.common.json:
        say("note", f"{context.unit.trace} will hold every byte on the line, secrets too; keep it like a key")
    value = function(context, **given)
    if inspect.iscoroutine(value):
        value = drive(value)
    if value is None:
        return 0
    from lockmigrate.cli import render

    render.emit(value, context.common)
    refusal = render.refusal_of(value)
    if refusal is not None:
        raise refusal
    return int(value.exit_code)


def note_target(text: str) -> None:
    """Note which target is being worked on: an error document names it."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.meta[TARGET_NOTE] = text


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop of its own; SIGTERM and a lost terminal cancel it as Ctrl-C does."""
    import asyncio

    async def whole() -> Any:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)

        with _stopping(cancel):
            return await coroutine

    return asyncio.run(whole())


@contextlib.contextmanager
def _stopping(cancel: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGTERM or SIGHUP cancel; a second one interrupts whatever runs."""
    import signal
    import threading

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        cancel()

    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Only where `run` has taken charge of them: a host program of ours keeps its own.
            if number is not None and signal.getsignal(number) is signal.default_int_handler:
                replaced[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, former in replaced.items():
            signal.signal(number, former)


def _start_logging(verbose: int) -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("lockmigrate: %(message)s"))
    logger = logging.getLogger("lockmigrate")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
