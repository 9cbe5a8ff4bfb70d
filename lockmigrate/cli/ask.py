"""Questions to the person: on the terminal only, on stderr, and never one that hangs a script.

A question blocks the event loop, which is fine: nothing is sent to a unit while a person thinks. Ctrl-C works during
one, and what is typed as a passphrase is not shown.
"""

from __future__ import annotations

import contextlib
import hmac
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import click

from lockmigrate.cli.words import clean, to_stderr
from lockmigrate.errors import Cancelled, ConfigError, LockmigrateError

TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What was typed, or made for the person."""

    text: str = field(repr=False)
    generated: bool = False


def on_terminal() -> bool:
    """Whether a person can be asked: they see our questions and we see their keys."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def confirm_unit(
    unit_id: str, given: str | None, summary: str | Iterable[str], is_terminal: bool | None = None
) -> None:
    """Let the person name the unit that is about to be changed.

    Args:
        unit_id: `unit.id`.
        given: what `--confirm` said; then nothing is asked.
        summary: what will happen, shown on stderr first; see `screens.danger_lines`.
        is_terminal: whether a person can be asked; looked up if None.

    Raises:
        ConfigError: `--confirm` names another unit (`wrong-confirm`), or nobody can be asked (`confirm-needed`).
        Cancelled: the person typed something else.
    """
    if given is not None:
        if given.strip() != unit_id:
            raise ConfigError(
                f'--confirm names "{given.strip()}", but this unit is "{unit_id}"',
                hint="nothing was written; look which unit is connected",
                code="wrong-confirm",
            )
        return
    if not (on_terminal() if is_terminal is None else is_terminal):
        raise ConfigError(
            f'nobody is there to confirm what happens to the unit "{unit_id}"',
            hint=f"a script names the unit: --confirm {shlex.quote(unit_id)}",
            code="confirm-needed",
        )
    for line in [summary] if isinstance(summary, str) else summary:
        _show(line)
    typed = _prompt("Type the id of this unit (its serial number, else the last part of its port) to go on")
    if typed.strip() != unit_id:
        raise Cancelled("that is not this unit; nothing was written")


def ask_choice(question: str, choices: Mapping[str, str], *, otherwise: LockmigrateError) -> str:
    """Let the person choose one of the keys of `choices` (key to what it means).

    Raises:
        LockmigrateError: `otherwise`, where nobody can be asked.
        Cancelled: an empty answer.
    """
    if not on_terminal():
        raise otherwise
    _show(question)
    for key, meaning in choices.items():
        _show(f"  {key}: {meaning}")
    for _ in range(TRIES):
        typed = _prompt(f"{' or '.join(choices)} (empty: stop here)").strip().lower()
        if not typed:
            break
        matching = [key for key in choices if key.startswith(typed)]
        if len(matching) == 1:
            return matching[0]
    raise Cancelled("nothing was written")


def ask_text(question: str, *, otherwise: LockmigrateError) -> str:
    """Ask for one line of text.

    Raises:
        LockmigrateError: `otherwise`, where nobody can be asked.
        Cancelled: an empty answer.
    """
    if not on_terminal():
        raise otherwise
    typed = _prompt(question).strip()
    if not typed:
        raise Cancelled("nothing was changed")
    return typed


def ask_pin(question: str) -> int:
    """Ask for a PIN of digits; what is typed is not shown.

    Raises:
        Cancelled: no number was typed.
    """
    for _ in range(TRIES):
        typed = _prompt(question, hidden=True).strip()
        if typed.isascii() and typed.isdigit() and len(typed) <= 6:
            return int(typed)
        _show("that is not a PIN: up to six digits")
    raise Cancelled("no PIN was typed")


def ask_enter(text: str) -> None:
    """Show a sentence and wait for Enter; without a terminal go on at once."""
    if on_terminal():
        _prompt(text)


def ask_passphrase(new: bool, *, purpose: str = "the keys", generate: bool = True) -> Passphrase:
    """Ask for a passphrase: once for an existing one, twice for a new one.

    An empty answer to a new one makes a good one, shows it once and has it typed back.

    Raises:
        ConfigError: nobody can be asked (`no-passphrase`), or the new one was not typed alike (`passphrase-differs`).
        click.Abort: Ctrl-C, or the end of input.
    """
    if not on_terminal():
        raise ConfigError(
            f"a passphrase for {purpose} is needed and nobody is there to type it",
            hint="--passphrase-file FILE, or LOCKMIGRATE_PASSPHRASE_FILE",
            code="no-passphrase",
        )
    if not new:
        for _ in range(TRIES):
            typed = _prompt(f"Passphrase of {purpose}", hidden=True)
            if typed:
                return Passphrase(typed)
        raise Cancelled("no passphrase was typed")
    for _ in range(TRIES):
        chosen = _new_passphrase(purpose, generate=generate)
        if chosen is not None:
            return chosen
    raise _not_alike()


def ask_back(generated: str) -> None:
    """Show a generated passphrase once and have it typed back from paper.

    Raises:
        ConfigError: it was not typed alike three times (`passphrase-differs`).
    """
    _show("")
    _show("Write this passphrase on paper now. It is shown only this once:")
    _show("")
    _show(f"    {generated}")
    _show("")
    for _ in range(TRIES):
        typed = _prompt("Type it back from the paper")
        if hmac.compare_digest("-".join(typed.replace("-", " ").split()).encode(), generated.encode()):
            return
        _show("that is not the same")
    raise _not_alike()


def _new_passphrase(purpose: str, *, generate: bool) -> Passphrase | None:
    """One attempt at a new passphrase; None to try again."""
    from lockmigrate.vault.passphrases import check_new_passphrase, generate_passphrase

    rest = " (empty: one is made for you)" if generate else ""
    first = _prompt(f"New passphrase for {purpose}{rest}", hidden=True)
    if not first:
        if not generate:
            return None
        made = generate_passphrase()
        ask_back(made)
        return Passphrase(made, generated=True)
    try:
        checked = check_new_passphrase(first)
    except ConfigError as error:
        _show(error.message)
        return None
    if hmac.compare_digest(_prompt("The same again", hidden=True).encode(), first.encode()):
        return Passphrase(checked)
    _show("the two are not the same")
    return None


def _not_alike() -> ConfigError:
    return ConfigError(
        "the passphrase was not typed the same way twice", hint="nothing was made; try again", code="passphrase-differs"
    )


def _show(text: str) -> None:
    to_stderr(clean(text))


def _prompt(text: str, *, hidden: bool = False) -> str:
    with _interruptible():
        answer: str = click.prompt(clean(text), default="", show_default=False, hide_input=hidden, err=True)
    return answer


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Inside an event loop the first Ctrl-C would only be noted; during a question it must end the question."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and callable(signal.getsignal(number)):
            replaced[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, former in replaced.items():
            signal.signal(number, former)
