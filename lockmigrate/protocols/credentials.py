"""Credential files: what opens a unit. TOML with one table a family; nothing of it is ever shown."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from lockmigrate.errors import ConfigError


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


Credential = Ef01Credential | ZkCredential


class _CredentialFile(Struct, frozen=True, forbid_unknown_fields=True):
    ef01: Ef01Credential | None = None
    zk: ZkCredential | None = None


_EXAMPLES: Final = {
    "ef01": 'it holds a table as [ef01] with password = "00000000" and address = "ffffffff", both hex',
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
        raise _wrong(f"the credential file {path}: {str(error).partition(' - ')[0]}", _EXAMPLES[family]) from None
    tables = {name: getattr(file, name) for name in file.__struct_fields__}
    found: dict[str, Credential] = {name: table for name, table in tables.items() if table is not None}
    if isinstance(file.ef01, Ef01Credential):
        _check_ef01(path, file.ef01)
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


def _check_ef01(path: Path, table: Ef01Credential) -> None:
    for name, value in (("password", table.password), ("address", table.address)):
        if value is not None and (len(value) != 8 or not all(digit in "0123456789abcdefABCDEF" for digit in value)):
            raise _wrong(
                f"the credential file {path}: [ef01] {name} is not four bytes in hex",
                "eight digits of 0 to 9 and a to f, in quotes",
            )


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, hint=hint, code="credential-file")
