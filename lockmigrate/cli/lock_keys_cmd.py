"""`keys import-lock` and `keys export-lock`: the keys of TTLock locks, from other programs and back to their owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.cli.answers import LockKeysResult

_FILE = click.argument("file", type=click.Path(path_type=Path))
_KEPT = click.argument("file", type=click.Path(path_type=Path), required=False)


@click.command("import-lock", short_help="make a credential file of what another program exports")
@_FILE
@click.option(
    "-o",
    "--credential-file",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The credential file to make, or to complete.",
)
@click.option("--lock", metavar="MAC", help="Which lock, where the export holds several.")
@common
def keys_import_lock(ctx: Context, file: Path, out: Path, lock: str | None) -> LockKeysResult:
    """Take over the keys of a TTLock lock from FILE, an export of the program that manages it now.

    Known are lockData.json of ttlock-sdk-js and Home Assistant's add-on, locks.json of esphome-ttlock, and the vendor's
    lockData text, alone or in JSON. The credential file is readable by you alone: whoever has it has the door. Another
    table in it stays; keys of a lock are never overwritten.

    \b
    Example:
      lockmigrate keys import-lock lockData.json -o front-door.toml
    """
    from lockmigrate.cli.answers import LockKeysResult
    from lockmigrate.operations.lock_keys import import_keys, keep_keys

    credential = import_keys(file, lock=lock)
    keep_keys(out, credential)
    manages = credential.admin_ps is not None and credential.unlock_key is not None
    warnings = () if manages else ("these keys open the lock and do not manage it: a backup needs its administrator's",)
    return LockKeysResult(unit=credential.address, file=str(out), warnings=warnings)


@click.command("export-lock", short_help="write a lock's keys in the maker's form, for its owner")
@_KEPT
@click.option("--credential-file", "named", type=click.Path(path_type=Path), metavar="FILE", help="The same as FILE.")
@click.option("-o", "out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where the text goes.")
@click.option("--force", is_flag=True, help="Replace it if it exists.")
@common
def keys_export_lock(ctx: Context, file: Path | None, named: Path | None, out: Path, force: bool) -> LockKeysResult:
    """Write the keys of a TTLock lock that this computer paired, from the credential file FILE, as lockData.

    For the owner: whoever has the text has the door. It is written readable by you alone.

    \b
    Example:
      lockmigrate keys export-lock front-door.toml -o front-door.lockdata
    """
    from lockmigrate.cli.answers import LockKeysResult
    from lockmigrate.operations.lock_keys import export_keys
    from lockmigrate.protocols.credentials import TtlockCredential, write_secret
    from lockmigrate.targets import read_credential

    kept = file or named
    if kept is None:
        raise click.UsageError("name the credential file whose keys are to be written")
    credential = read_credential(kept, "ttlock")
    if not isinstance(credential, TtlockCredential):
        raise TypeError("the table [ttlock] is no TtlockCredential")
    write_secret(out, export_keys(credential) + "\n", force=force)
    return LockKeysResult(unit=credential.address, file=str(out))
