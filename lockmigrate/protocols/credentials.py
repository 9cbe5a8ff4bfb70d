"""Credential files: what opens a unit. TOML with one table a family; nothing of it is ever shown."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from lockmigrate.errors import ConfigError, FileTrouble


class Ef01Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[ef01]` table of a credential file."""

    password: str | None = None
    address: str | None = None
    unit: str | None = None

    def __repr__(self) -> str:
        return "Ef01Credential(••••••)"


class ZkCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[zk]` table of a credential file."""

    comm_key: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    """The number on the terminal's menu; 0 means none."""
    unit: str | None = None

    def __repr__(self) -> str:
        return "ZkCredential(••••••)"


class NukiCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[nuki]` table of a credential file; made by `pair`, which itself needs only the PIN."""

    authorization_id: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    shared_key: str | None = None
    """64 hex digits."""
    app_id: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    security_pin: Annotated[int, Meta(ge=0, le=999_999)] | None = None
    """Four digits, six from generation 5 on; 0 where none is set."""
    address: str | None = None
    uuid: str | None = None
    """32 hex digits: what the lock calls itself until it is reset."""
    unit: str | None = None

    def __repr__(self) -> str:
        return "NukiCredential(••••••)"


class TtlockCredential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[ttlock]` table of a credential file; made by `pair` or `keys import-lock`."""

    aes_key: str | None = None
    """32 hex digits."""
    admin_ps: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    unlock_key: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    admin_passcode: str | None = None
    """Digits that open and program the lock at its keypad."""
    lock_flag_pos: Annotated[int, Meta(ge=0, le=0xFFFFFF)] = 0
    uid: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] = 0
    address: str | None = None
    uuid: str | None = None
    unit: str | None = None

    def __repr__(self) -> str:
        return "TtlockCredential(••••••)"


Credential = Ef01Credential | ZkCredential | NukiCredential | TtlockCredential
CREDENTIALS: Final[dict[str, type[Credential]]] = {
    "ef01": Ef01Credential,
    "zk": ZkCredential,
    "nuki": NukiCredential,
    "ttlock": TtlockCredential,
}
"""Family to the form of its table."""


class _CredentialFile(Struct, frozen=True, forbid_unknown_fields=True):
    ef01: Ef01Credential | None = None
    zk: ZkCredential | None = None
    nuki: NukiCredential | None = None
    ttlock: TtlockCredential | None = None


_EXAMPLES: Final = {
    "ef01": 'it holds a table as [ef01] with password = "00000000" and address = "ffffffff", both hex',
    "nuki": "it holds a table [nuki] with security_pin = 1234; pair adds authorization_id, shared_key and app_id",
    "ttlock": "it holds a table [ttlock] with aes_key (hex), admin_ps and unlock_key; keys import-lock makes it",
    "zk": "it holds two lines: [zk] and, below it, comm_key = 123456 (the number on the terminal's menu)",
}


def read_credentials(path: Path) -> dict[str, Credential]:
    """Read a credential file: family to its table.

    Raises:
        ConfigError: the file is missing, unreadable, not TOML, or holds something unknown. No value is repeated.
    """
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        file = msgspec.convert(document, _CredentialFile, strict=False)  # a number may stand in quotes
    except OSError as error:
        raise _wrong(
            f"cannot read the credential file {path}: {error.strerror}", "check the path after --credential-file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if not isinstance(error, msgspec.ValidationError):
            raise _wrong(
                f"the credential file {path} is not TOML",
                'it holds lines such as [zk] and comm_key = 123456, or [ef01] and password = "00000000"',
            ) from None
        family = "zk" if "$.zk" in str(error) or "comm_key" in document else "ef01"
        family = next((name for name in ("nuki", "ttlock") if f"$.{name}" in str(error)), family)
        raise _wrong(f"the credential file {path}: {str(error).partition(' - ')[0]}", _EXAMPLES[family]) from None
    tables = {name: getattr(file, name) for name in file.__struct_fields__}
    found: dict[str, Credential] = {name: table for name, table in tables.items() if table is not None}
    if isinstance(file.ef01, Ef01Credential):
        _check_ef01(path, file.ef01)
    if isinstance(file.nuki, NukiCredential):
        _check_hex(path, "nuki", "shared_key", file.nuki.shared_key, 64)
        _check_hex(path, "nuki", "uuid", file.nuki.uuid, 32)
    if isinstance(file.ttlock, TtlockCredential):
        _check_hex(path, "ttlock", "aes_key", file.ttlock.aes_key, 32)
    return found


def credential_for(found: dict[str, Credential], path: Path, family: str) -> Credential:
    """Return the table of one family.

    Raises:
        ConfigError: the file has none.
    """
    if family not in found:
        raise _wrong(
            f"the credential file {path} has no table [{family}]", "tables are named as the family of the unit"
        )
    return found[family]


def write_credential(path: Path, family: str, table: Credential) -> None:
    """Write one family's table, readable by its owner only, whole or not at all; other tables of the file stay.

    Raises:
        FileTrouble: the file cannot be written.
    """
    try:
        kept = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        kept = {}
    tables = {**kept, family: {name: value for name, value in msgspec.to_builtins(table).items() if value is not None}}
    text = "\n".join(
        "\n".join((f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""))
        for name, values in tables.items()
        if isinstance(values, dict)
    )
    _write(path, text, "the unit knows us now, but its keys are lost: remove our entry there and pair again")


def write_secret(path: Path, text: str, *, force: bool = False) -> None:
    """Write a text readable by its owner only, whole or not at all.

    Raises:
        FileTrouble: the file exists and `force` was not given, or it cannot be written.
    """
    if path.exists() and not force:
        raise FileTrouble(f"{path} exists", hint="choose another name, or --force replaces it")
    _write(path, text, "choose a folder that can be written to")


def _write(path: Path, text: str, hint: str) -> None:
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        with open(fresh, "x", encoding="utf-8", opener=_owner_only) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise FileTrouble(f"cannot write the file {path}: {error.strerror}", hint=hint) from None


def _owner_only(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _toml(value: int | str) -> str:
    # The strings of credentials are hex digits, addresses and serial numbers; JSON's escapes are also TOML's.
    return str(value) if isinstance(value, int) else json.dumps(value)


def _check_ef01(path: Path, table: Ef01Credential) -> None:
    for name, value in (("password", table.password), ("address", table.address)):
        _check_hex(path, "ef01", name, value, 8)


_NUMBERS: Final = {8: "four", 32: "sixteen", 64: "thirty-two"}
_DIGITS: Final = {8: "eight", 32: "32", 64: "64"}


def _check_hex(path: Path, family: str, name: str, value: str | None, digits: int) -> None:
    if value is not None and (len(value) != digits or not all(digit in "0123456789abcdefABCDEF" for digit in value)):
        raise _wrong(
            f"the credential file {path}: [{family}] {name} is not {_NUMBERS[digits]} bytes in hex",
            f"{_DIGITS[digits]} digits of 0 to 9 and a to f, in quotes",
        )


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, hint=hint, code="credential-file")
