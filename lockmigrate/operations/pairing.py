"""Introduce this computer to a unit that opens only to whom it knows, and take leave of it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msgspec.structs import replace as changed

from lockmigrate.errors import ConfigError, LinkError, Unsupported, WrongCredential
from lockmigrate.model.results import PairResult, Unit, UnpairResult
from lockmigrate.protocols import Lock, Uncounted
from lockmigrate.protocols.credentials import read_credentials, write_credential
from lockmigrate.protocols.door import pairing_door_of
from lockmigrate.targets import Access, Target, dial_unit


def check_credential_file(path: Path) -> None:
    """See that pairing may write its keys there; a file that holds only a PIN is completed.

    Raises:
        ConfigError: it holds keys already, or cannot be read.
    """
    if not path.exists():
        if not path.parent.is_dir():
            raise ConfigError(f"there is no folder {path.parent}", hint="make it first", code="credential-file")
        return
    for family, table in read_credentials(path).items():
        if getattr(table, "shared_key", None) is not None:
            raise ConfigError(
                f"{path} holds the keys of a lock already, in its table [{family}]",
                hint="give another file: these keys may be the only way into that lock",
                code="credential-file",
            )


async def pair(
    target: Target,
    access: Access,
    path: Path,
    *,
    pin: int | None = None,
    agree: Callable[[str], None] | None = None,
) -> PairResult:
    """Pair with a unit, write the keys to a file, and see that they open it.

    Args:
        target: a unit in pairing mode.
        access: how to reach it; its credential file, if it exists, may hold the PIN.
        path: where the keys go, mode 0600.
        pin: the security PIN, where a person typed it.
        agree: called with what is at stake, where anything is; raises where the person does not want it.

    Raises:
        ConfigError: a PIN is needed (code `no-security-pin`).
        RefusedError, LinkError: the unit refuses, or the conversation failed.
        WrongCredential: the unit is paired, but does not accept the PIN.
    """
    connection, family, door = await dial_unit(target, access)
    module = pairing_door_of(family)
    if module is not None and module.caution is not None and agree is not None:
        await connection.close()  # no link is held while a person is asked
        agree(module.caution)
        connection, family, door = await dial_unit(target, access)
        module = pairing_door_of(family)
    try:
        if module is None:
            raise Unsupported(f"{target.text} needs no pairing")
        if pin is not None:
            door = replace(door, credential=module.with_pin(door.credential, pin))
        credential = await module.pair_unit(connection, door, keep=lambda made: write_credential(path, family, made))
        write_credential(path, family, credential)
        lock = None
        try:
            lock = await module.open_unit(connection, replace(door, credential=credential, just_paired=True))
            if isinstance(lock, Uncounted):
                await lock.count()
            unit = await lock.identify()
        except (WrongCredential, LinkError) as error:
            wrong = isinstance(error, WrongCredential)
            then = "correct the PIN there" if wrong and family == "nuki" else "info with that file goes on from here"
            error.hint = f"the lock is paired and its keys are in {path}: {then}. {error.hint or ''}".strip()
            raise
        finally:
            if lock is not None:
                await lock.close()
    finally:
        await connection.close()
    return PairResult(unit=unit, credential_file=str(path), warnings=unit.warnings)


async def unpair(lock: Lock, unit: Unit) -> UnpairResult:
    """Remove our own authorisation from an opened unit.

    Raises:
        Unsupported: the unit knows no pairing.
        RefusedError, LinkError: from the unit.
    """
    module = pairing_door_of(unit.family)
    if module is None:
        raise Unsupported(f"{unit.target} needs no pairing", hint="unpair is for locks on Bluetooth")
    await module.unpair_unit(lock)
    return UnpairResult(unit=changed(unit, counts={}))


def reminder(unit: Unit) -> tuple[str, ...]:
    """Say that our own access stays on a unit after the work."""
    if unit.simulated or pairing_door_of(unit.family) is None:
        return ()
    return (f"this computer can still open {unit.id}; when all is done: lockmigrate unpair {unit.target}",)
