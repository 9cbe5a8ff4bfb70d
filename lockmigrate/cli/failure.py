"""Endings that are not results: every exception becomes a sentence, or the error document, and an exit code."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Final

import click

from lockmigrate.cli.words import clean, say, to_stderr
from lockmigrate.errors import Cancelled, ConfigError, LockmigrateError, MismatchError

ERROR_SCHEMA: Final = "lockmigrate.error/1"
SHOWN_DIFFERENCES: Final = 20
_SECRET_WORDS: Final = ("password", "passphrase", "pin", "code", "secret", "key", "comm-key")
"""Options that people try and that we do not have: a secret on a command line stays in the shell's history."""


def report(error: BaseException, *, as_json: bool, target: str | None) -> int:
    """Say on stderr what went wrong and return the exit code; with `as_json` as one document, the last line."""
    ours = translate(error)
    if as_json:
        to_stderr(json.dumps(error_document(ours, target), ensure_ascii=True))
    else:
        _tell(ours)
    return ours.exit_code


def translate(error: BaseException) -> LockmigrateError:
    """Return the error as one of ours; an unexpected one leaves its traceback in a file."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, LockmigrateError):
        return error
    if _is_cancelling(error):
        return Cancelled("cancelled")
    if isinstance(error, click.ClickException):
        return _usage(error)
    return _bug(error)


def error_document(error: LockmigrateError, target: str | None) -> dict[str, Any]:
    """Build `lockmigrate.error/1`."""
    document: dict[str, Any] = {
        "schema": ERROR_SCHEMA,
        "code": error.code,
        "exit": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "target": target,
    }
    if isinstance(error, MismatchError) and error.differences:
        document["differences"] = list(error.differences)
    return document


def _tell(error: LockmigrateError) -> None:
    if isinstance(error, Cancelled):
        if sys.stderr.isatty():
            to_stderr("")  # the line of the question is still open
        say("cancelled", "" if error.message == "cancelled" else error.message)
    elif isinstance(error, _NoCommand):
        to_stderr(error.help_text)
    else:
        say("error", error.message)
    if isinstance(error, MismatchError):
        for difference in error.differences[:SHOWN_DIFFERENCES]:
            say("differs", difference)
        if len(error.differences) > SHOWN_DIFFERENCES:
            say("differs", f"and {len(error.differences) - SHOWN_DIFFERENCES} more; --json lists all")
    if error.hint and not isinstance(error, _NoCommand):
        say("hint", error.hint)


def _is_cancelling(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt | click.Abort | EOFError):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


# ---- usage ----------------------------------------------------------------------------------------------------------


class _NoCommand(ConfigError):
    """Only the program's or a group's name was given: the help is the answer."""

    def __init__(self, help_text: str, path: str) -> None:
        super().__init__(f"{path}: which command?", hint=f'see "{path} -h"', code="usage")
        self.help_text = help_text


def _usage(error: click.ClickException) -> ConfigError:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if isinstance(ctx, click.Context) else "lockmigrate"
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and isinstance(ctx, click.Context):
        return _NoCommand(ctx.get_help(), path)
    hint = getattr(error, "hint", None) or f'see "{path} -h"'
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):
        message = f"{path} has no option {error.option_name}"
        name = error.option_name.lstrip("-").lower()
        if any(name == word or name.startswith(f"{word}=") for word in _SECRET_WORDS):
            hint = "secrets are not taken from a command line; see --passphrase-file and --credential-file"
        elif error.possibilities:
            hint = f"did you mean {' or '.join(sorted(error.possibilities)[:2])}?"
    return ConfigError(_in_our_style(message), hint=hint, code="usage")


def _in_our_style(message: str) -> str:
    message = message.strip().removesuffix(".")
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


# ---- bugs -----------------------------------------------------------------------------------------------------------


def _bug(error: BaseException) -> LockmigrateError:
    """Keep the traceback, without locals, in a file that only its owner can read; say its path, not its text."""
    name = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    message = f"this is a bug in lockmigrate: {name}{where}"
    try:
        handle, path = tempfile.mkstemp(prefix="lockmigrate-bug-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    except OSError:
        return LockmigrateError(message, hint="please report it; its traceback could not be written to a file")
    return LockmigrateError(message, hint=f"please report it with {clean(path)}, after a look at what is in that file")
