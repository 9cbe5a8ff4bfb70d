"""What commands on units and files share: keys asked for once, units opened and always closed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from msgspec.structs import replace

from lockmigrate.cli import ask
from lockmigrate.cli.options import Context
from lockmigrate.cli.runner import note_target
from lockmigrate.cli.words import clean, say, to_stderr
from lockmigrate.errors import BackupError, ConfigError, LockmigrateError, WrongKeyError
from lockmigrate.formats import age
from lockmigrate.formats.backup import read_backup
from lockmigrate.operations.keyring import KeyChoice, Keyring, is_symmetric
from lockmigrate.planning.policy import (
    Decisions,
    Policy,
    clear_decisions,
    decisions_bytes,
    is_sealed,
    parse_decisions,
)
from lockmigrate.protocols import Lock, Resting
from lockmigrate.targets import Access, Target, open_target, parse_target
from lockmigrate.targets_ble import LISTEN_S
from lockmigrate.vault import keys
from lockmigrate.vault.passphrases import read_passphrase_file

PATIENCE_S: Final = 2.0
"""After so long a person is told why nothing happens."""
COUNT_S: Final = 5.0


@asynccontextmanager
async def opened(ctx: Context, target: Target, *, position: int = 0) -> AsyncIterator[Lock]:
    """Open a unit and close it again, whatever happens."""
    trace = ctx.unit.trace
    if trace is not None and position:
        trace = trace.with_name(f"{trace.stem}-{position + 1}{trace.suffix}")
    credential = ctx.unit.credential_file(position)
    if credential is not None and credential.exists() and keys.readable_by_others(credential):
        say("warning", f"{credential} is readable by others; chmod 600 {credential}")
    access = Access(profile=ctx.unit.profile, credential_file=credential, trace=trace)
    note_target(target.text)
    waiting: list[asyncio.TimerHandle] = []
    waiting.append(asyncio.get_running_loop().call_later(PATIENCE_S, _still_looking, ctx, target, waiting))
    try:
        lock = await open_target(target, access)
    finally:
        for handle in waiting:
            handle.cancel()
    try:
        yield lock
    finally:
        await lock.close()


async def rest(lock: Lock, *, asking: bool) -> None:
    """Let go of a unit that would hang up while a person thinks; the next call meets it again."""
    if asking and isinstance(lock, Resting):
        await lock.rest()


def _count_down(left_s: float, waiting: list[asyncio.TimerHandle]) -> None:
    """Say again and again how long there is to touch a lock that sleeps."""
    say("note", f"not heard yet: touch the lock if it sleeps until it is touched; {left_s:.0f} s left")
    if left_s > COUNT_S:
        loop = asyncio.get_running_loop()
        waiting[:] = [loop.call_later(COUNT_S, _count_down, left_s - COUNT_S, waiting)]


def _still_looking(ctx: Context, target: Target, waiting: list[asyncio.TimerHandle]) -> None:
    if not ctx.common.json and sys.stderr.isatty():
        if target.scheme == "ble":
            _count_down(LISTEN_S - PATIENCE_S, waiting)
        else:
            say("note", "no answer yet: other speeds and other kinds of units are tried, up to 15 s in all")


def targets(*texts: str) -> tuple[Target, ...]:
    """Parse all targets before anything is opened."""
    return tuple(parse_target(text) for text in texts)


def ring_for(
    ctx: Context, *, seal: bool = False, file: Path | None = None, trust_once: tuple[str, ...] = ()
) -> Keyring:
    """Gather the keys of one run; asks for a passphrase at most once, before any unit is touched.

    Args:
        ctx: the options.
        seal: a backup will or may be made.
        file: the backup that is to be opened.
        trust_once: fingerprints typed in full.
    """
    folder = ctx.common.config_dir
    if file is not None and not file.is_file():
        read_backup(file)  # says what is wrong with it before anybody types a passphrase
    passphrase: str | None = None
    if ctx.keys.passphrase_file is not None:
        passphrase = _from_file(ctx.keys.passphrase_file)
    if seal and not (folder / keys.SIGNING_FILE).exists() and ask.on_terminal() and not ctx.common.json:
        passphrase = _first_use(folder)
    sealed = _head(file) if file is not None else b""
    symmetric_file = bool(sealed) and is_symmetric(sealed)
    needed = (seal and (folder / keys.SIGNING_FILE).exists()) or (
        file is not None and not symmetric_file and _locked_identities(ctx, file)
    )
    if passphrase is None and needed:
        if not ask.on_terminal():
            raise ConfigError(
                "the keys are locked and nobody is there to type their passphrase",
                hint="--passphrase-file FILE, or LOCKMIGRATE_PASSPHRASE_FILE",
                code="no-passphrase",
            )
        passphrase = ask.ask_passphrase(new=False, purpose="the keys (the words on your paper, or your own)").text
    own: str | None = None
    if ctx.keys.backup_passphrase_file is not None:
        own = _from_file(ctx.keys.backup_passphrase_file)
    elif symmetric_file and ask.on_terminal():
        own = ask.ask_passphrase(new=False, purpose="this backup").text
    elif seal and ctx.keys.symmetric and ask.on_terminal():
        own = ask.ask_passphrase(new=True, purpose="this backup").text
    return Keyring(
        KeyChoice(
            config_dir=folder,
            passphrase=passphrase,
            recipients=ctx.keys.recipients,
            identities=ctx.keys.identities,
            symmetric=ctx.keys.symmetric,
            backup_passphrase=own,
            trust_once=trust_once,
            key_copy=ctx.keys.key_copy,
        )
    )


def _from_file(path: Path) -> str:
    if path.exists() and path.is_file() and keys.readable_by_others(path):
        say("warning", f"{path} is readable by others; chmod 600 {path}")
    return read_passphrase_file(path)


def _head(file: Path) -> bytes:
    """The first bytes of a backup, to see what opens it; what is wrong with the file is said when it is opened."""
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as stream:
            return stream.read(64 * 1024)
    except OSError:
        return b""


def _locked_identities(ctx: Context, file: Path) -> bool:
    try:
        found = keys.find_identities(ctx.common.config_dir, file, ctx.keys.identities)
    except (WrongKeyError, LockmigrateError):
        return False
    return any(keys.is_locked(_head(path)) for path in found)


def _first_use(folder: Path) -> str:
    """Decision 32: the first command that seals makes the keys, with a passphrase that goes on paper."""
    from lockmigrate.vault.passphrases import generate_passphrase

    to_stderr(
        f"There are no keys in {clean(str(folder))} yet, so they are made now. Without them nobody can open a "
        "backup, and nothing gets them back: the passphrase belongs on paper."
    )
    passphrase = generate_passphrase()
    ask.ask_back(passphrase)
    info = keys.create_keys(folder, passphrase, generated=True)
    click.echo("", err=True)
    to_stderr("Write on the same paper, to compare on another computer whose file it is:")
    click.echo(f"  recipient  {info.recipient}", err=True)
    click.echo(f"  signer     {info.signer}", err=True)
    click.echo("", err=True)
    return passphrase


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """A decisions file as it was read, once."""

    path: Path | None = None
    sealed: bytes | None = None
    """Where it is sealed with age."""
    decisions: Decisions = field(default_factory=Decisions)
    """Where it is in clear."""


def load_answers(path: Path | None) -> AnswersFile:
    """Read a decisions file; one that is sealed waits for the keys.

    Raises:
        ConfigError: it cannot be read, or is no decisions file.
    """
    if path is None:
        return AnswersFile()
    data = decisions_bytes(path)
    if is_sealed(data):
        return AnswersFile(path, data)
    return AnswersFile(path, None, clear_decisions(data, path))


async def with_answers(policy: Policy, answers: AnswersFile, ring: Keyring) -> Policy:
    """Return a policy with the answers of a decisions file, whose seal is opened if it has one.

    Raises:
        ConfigError: it is no decisions file.
        WrongKeyError, BackupError: none of the keys opens it, or it was changed.
    """
    if answers.sealed is None or answers.path is None:
        return replace(policy, decisions=answers.decisions)
    try:
        identities, passphrase = await ring.identities_for(answers.path, answers.sealed)
        data = await asyncio.to_thread(age.decrypt_bytes, answers.sealed, identities=identities, passphrase=passphrase)
    except (BackupError, WrongKeyError) as error:
        message = f"the decisions file {answers.path} cannot be opened: {error.message}"
        raise type(error)(message, hint=error.hint, code=error.code) from None
    return replace(policy, decisions=parse_decisions(data, answers.path))
