"""`vault list|verify|rekey|purge|reindex`: a folder of backups."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.model.vault_results import (
        FileCheck,
        VaultListResult,
        VaultPurgeResult,
        VaultReindexResult,
        VaultRekeyResult,
        VaultVerifyResult,
    )
    from lockmigrate.operations.keyring import KeyPaths

_FILE = click.Path(path_type=Path)
_FOLDER = click.option(
    "--folder", type=_FILE, default=Path(), metavar="DIR", help="Where the backups are; else the current directory."
)
_KEYS = (
    click.option(
        "--passphrase-file",
        type=_FILE,
        envvar="LOCKMIGRATE_PASSPHRASE_FILE",
        show_envvar=True,
        metavar="FILE",
        help="Unlocks the key files, instead of a question.",
    ),
    click.option(
        "--identity", "identities", type=_FILE, multiple=True, metavar="FILE", help="Also try this key; repeatable."
    ),
    click.option(
        "--backup-passphrase-file", type=_FILE, metavar="FILE", help="Opens backups under a passphrase of their own."
    ),
)
_TRUST_ONCE = click.option(
    "--trust-once", multiple=True, metavar="SHA256:…", help="Trust this signer for this run; typed in full."
)


def _opening_keys(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_KEYS):
        function = option(function)
    return function


@click.command("list", short_help="list the backups of a folder and how far each is proven")
@_FOLDER
@common
def vault_list(ctx: Context, folder: Path) -> VaultListResult:
    """List the backups of a folder: which unit, how old, whether the file is there, how far it is proven.

    No key is needed. "rehearsed" means restored into a simulated unit and read back, by this version.

    \b
    Example:
      lockmigrate vault list --folder backups
    """
    from lockmigrate.operations.vault import list_vault

    return list_vault(folder, ctx.common.config_dir)


@click.command("verify", short_help="check every backup of a folder")
@_FOLDER
@click.option("--quick", "level", flag_value="quick", help="Size and digest against the catalogue; needs no key.")
@click.option(
    "--read-data",
    "level",
    flag_value="read-data",
    default="read-data",
    show_default=True,
    help="Decrypt, signature, every entry.",
)
@click.option("--rehearse", "level", flag_value="rehearse", help="Also restore each into a simulated unit.")
@click.option("--subset", metavar="N/T", help="Only part N of T; the same files every time.")
@click.option(
    "--max-duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Begin no further file after that.",
)
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N", help="Processes.")
@_TRUST_ONCE
@_opening_keys
@common
def vault_verify(
    ctx: Context,
    folder: Path,
    level: str,
    subset: str | None,
    max_duration: float | None,
    jobs: int,
    trust_once: tuple[str, ...],
) -> VaultVerifyResult:
    """Check every backup of a folder, those first whose last check is longest ago, and remember the outcome.

    Exit code 0: all good. Otherwise that of the worst file: 6 damaged or gone, 10 untrusted or not restorable, 7 no key
    opens it.

    \b
    Examples:
      lockmigrate vault verify --folder backups
      lockmigrate vault verify --rehearse --subset 1/7 --jobs 2
      lockmigrate vault verify --quick --max-duration 60
    """
    from lockmigrate.operations.vault import Subset, verify_vault

    part = Subset.parse(subset) if subset is not None else None
    keys = _key_paths(ctx, folder, trust_once, jobs=jobs) if level != "quick" else None
    with _executor(jobs) as executor:
        return verify_vault(
            folder,
            ctx.common.config_dir,
            _level(level),
            keys,
            executor=executor,
            subset=part,
            max_duration_s=max_duration,
            on_check=_progress(ctx),
            in_flight=2 * jobs,
        )


@click.command("rekey", short_help="seal backups anew for other recipients")
@click.argument("files", nargs=-1, type=_FILE)
@_FOLDER
@click.option("--add", multiple=True, metavar="AGE1…", help="Also seal for this one; repeatable.")
@click.option("--remove", multiple=True, metavar="AGE1…", help="No longer seal for this one; repeatable.")
@click.option("--drop-unknown", is_flag=True, help="Leave out recipients that are not known here by their key.")
@click.option("--dry-run", is_flag=True, help="Only say for whom each would be sealed.")
@_opening_keys
@common
def vault_rekey(
    ctx: Context,
    files: tuple[Path, ...],
    folder: Path,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    drop_unknown: bool,
    dry_run: bool,
) -> VaultRekeyResult:
    """Seal FILES, or every backup of the folder, anew for other recipients.

    Each gets a new file key, is verified from the disk, and only then takes the old one's place; contents and
    signature stay. Copies that somebody took before stay readable for whoever could read them then.

    \b
    Example:
      lockmigrate vault rekey --folder backups --remove age1leaver… --add age1new…
    """
    from lockmigrate.operations.vault import files_in
    from lockmigrate.operations.vault_rekey import Change, rekey
    from lockmigrate.operations.vault_upkeep import journal_note
    from lockmigrate.vault.policy import load_policy

    config_dir = ctx.common.config_dir
    policy = load_policy(config_dir)
    keys = _key_paths(ctx, files[0].parent if files else folder, ())
    change = Change(add=add, remove=remove, drop_unknown=drop_unknown)
    return rekey(
        files or files_in(folder),
        config_dir,
        keys,
        change,
        policy,
        journal_note(config_dir),
        folder=folder,
        dry_run=dry_run,
    )


@click.command("purge", short_help="delete the backups that expired")
@_FOLDER
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@common
def vault_purge(ctx: Context, folder: Path, dry_run: bool) -> VaultPurgeResult:
    """Delete the backups that are past their expiry date, and note each in the journal.

    A backup without such a date is never deleted, nor a file that the catalogue does not know.

    \b
    Example:
      lockmigrate vault purge --folder backups --dry-run
    """
    from lockmigrate.operations.vault_upkeep import journal_note, purge

    config_dir = ctx.common.config_dir
    return purge(folder, config_dir, journal_note(config_dir), dry_run=dry_run)


@click.command("reindex", short_help="make the catalogue anew from the files")
@_FOLDER
@_TRUST_ONCE
@_opening_keys
@common
def vault_reindex(ctx: Context, folder: Path, trust_once: tuple[str, ...]) -> VaultReindexResult:
    """Open every backup of a folder and take it into the catalogue: after copying, moving or losing files.

    What the catalogue remembers besides stays; a damaged one is put aside. Files that are gone are noted as missing.

    \b
    Example:
      lockmigrate vault reindex --folder backups
    """
    from lockmigrate.operations.vault_upkeep import reindex

    return reindex(folder, ctx.common.config_dir, _key_paths(ctx, folder, trust_once))


def _level(text: str) -> Any:
    return text


def _key_paths(ctx: Context, folder: Path, trust_once: tuple[str, ...], *, jobs: int = 1) -> KeyPaths:
    """Return where keys are found; a passphrase that is needed and not in a file is asked for, and stays here.

    Raises:
        ConfigError: it would have to cross to other processes, or nobody can be asked.
    """
    from lockmigrate.cli import ask
    from lockmigrate.cli.keys_cmd import known_passphrase
    from lockmigrate.errors import ConfigError, WrongKeyError
    from lockmigrate.operations.keyring import KeyChoice, KeyPaths, Keyring
    from lockmigrate.operations.vault_verify import HeldKeys
    from lockmigrate.vault import keys

    paths = KeyPaths(
        config_dir=ctx.common.config_dir,
        passphrase_file=ctx.keys.passphrase_file,
        identities=ctx.keys.identities,
        backup_passphrase_file=ctx.keys.backup_passphrase_file,
        trust_once=trust_once,
    )
    if paths.passphrase_file is not None:
        known_passphrase(paths.passphrase_file)  # fails now and once, not for every file
        return paths
    try:
        found = keys.find_identities(paths.config_dir, folder / "any", paths.identities)
    except WrongKeyError:
        return paths
    if not any(keys.is_locked(_head(path)) for path in found):
        return paths
    if jobs > 1 or not ask.on_terminal():
        raise ConfigError(
            "the keys are locked, and a typed passphrase does not go to other processes"
            if jobs > 1
            else "the keys are locked and nobody is there to type their passphrase",
            hint="--passphrase-file FILE, or LOCKMIGRATE_PASSPHRASE_FILE",
            code="no-passphrase",
        )
    own = paths.keyring().choice
    choice = KeyChoice(
        config_dir=paths.config_dir,
        passphrase=known_passphrase(None),
        identities=paths.identities,
        backup_passphrase=own.backup_passphrase,
        trust_once=trust_once,
    )
    return HeldKeys(
        config_dir=paths.config_dir, identities=paths.identities, trust_once=trust_once, ring=Keyring(choice)
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(1024)
    except OSError:
        return b""


@contextlib.contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    """Processes started afresh: a copy of this one could hold what was unlocked here."""
    if jobs == 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _progress(ctx: Context) -> Callable[[FileCheck, int, int], None] | None:
    if ctx.common.progress != "json":
        return None
    from lockmigrate.cli.progress import PROGRESS_SCHEMA
    from lockmigrate.cli.words import to_stderr

    def show(check: FileCheck, done: int, total: int) -> None:
        line = {"schema": PROGRESS_SCHEMA, "stage": "verify", "done": done, "total": total, "size_bytes": 0}
        to_stderr(json.dumps(line))

    return show
