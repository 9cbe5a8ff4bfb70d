"""What became of a change on a Nuki lock, in the words of a plan; for codes and timers alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, TypeVar

from lockmigrate.errors import NoAnswer, RefusedError, WrongCredential
from lockmigrate.formats.nuki import Refusal, refusal_name
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.nuki_wire import Wire

Row = TypeVar("Row")


@dataclass(slots=True)
class Put(Generic[Row]):
    """One code or timer on its way: what came of asking for it."""

    step: Step
    ident: int | None
    """Its number on the lock; None while that is not known."""
    trouble: Done | None = None
    before: Row | None = None
    """What was there under its number."""

    @property
    def others(self) -> bool:
        """Somebody else's code with these digits came between the plan and us: it is left alone."""
        return self.trouble is not None and self.trouble.code == "pin-duplicate"


def _done(status: Literal["refused", "differs"], code: str, detail: str, key: str) -> Done:
    return Done(key=key, status=status, code=code, detail=detail)


LOST: Final[Callable[[str], Done]] = partial(
    _done, "refused", "write-refused", "the lock did not answer and does not show it"
)
OTHERWISE: Final[Callable[[str], Done]] = partial(
    _done, "differs", "read-back-differs", "the lock shows it otherwise than it was written"
)
NOT_MEANT: Final[Callable[[str], Done]] = partial(
    _done, "refused", "write-refused", "the lock has something else under this number by now; it was left alone"
)


def taken_back(put: Put[Row], left: Literal["empty", "disabled"] | None) -> Done:
    """Say that something which would open otherwise than it shall was taken away again; None: it could not be."""
    why = put.trouble.detail if put.trouble is not None else OTHERWISE(put.step.key).detail
    how = f"its place was left {left}" if left else "it could not be taken away"
    return _done("differs", "read-back-differs", f"{why}; {how}", put.step.key)


async def changed(wire: Wire, key: str, command: int, payload: bytes) -> Done | None:
    """Make a change; returns why it was refused. None: it happened, or its answer was lost and reading will tell.

    Raises:
        WrongCredential, LinkLost: what concerns all records.
    """
    try:
        await wire.change(command, payload)
    except NoAnswer:
        return None
    except RefusedError as error:
        return refused(key, error)
    return None


def refused(key: str, error: RefusedError) -> Done:
    """A record that the lock does not take; what concerns all of them is raised.

    Raises:
        WrongCredential: as it was.
    """
    if isinstance(error, WrongCredential):
        raise error
    if error.status == Refusal.TOO_MANY_ENTRIES:
        return _done("refused", "capacity", "the lock has no room for more", key)
    if error.status == Refusal.CODE_ALREADY_EXISTS:
        return _done("refused", "pin-duplicate", "the lock has this code already", key)
    return _done("refused", "write-refused", f"the lock refused it: {refusal_name(error.status or 0)}", key)


def gone(step: Step, still_there: bool, trouble: Done | None) -> Done:
    """Say what became of a removal."""
    if not still_there:
        return Done(key=step.key, status="removed", proof="V4")
    return trouble or _done("refused", "write-refused", "the lock still shows it", step.key)
