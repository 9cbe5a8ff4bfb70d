"""`keys init|show|export|import`: the keys that seal, open and sign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.cli.answers import KeysResult
    from lockmigrate.vault.keys import KeyInfo

_FILE = click.Path(path_type=Path)
# Collected into `ctx.keys`, as everywhere; the other key options mean nothing here.
_PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=_FILE,
    envvar="LOCKMIGRATE_PASSPHRASE_FILE",
    show_envvar=True,
    metavar="FILE",
    help="Holds the passphrase, instead of a question.",
)
_NAME = click.option("--name", default="operator", show_default=True, metavar="NAME", help="Who signs with this key.")


@click.command("init", short_help="make the keys of this computer, once")
@_PASSPHRASE_FILE
@_NAME
@click.option("--post-quantum", is_flag=True, help="Keys that quantum computers open neither; age 1.3 or newer.")
@common
def keys_init(ctx: Context, name: str, post_quantum: bool) -> KeysResult:
    """Make this computer's keys: one that opens backups, one that signs them.

    Both lie in the config directory under one passphrase. On a terminal an empty answer makes a good passphrase of six
    words and shows it once, for paper. Existing keys are never replaced.

    \b
    Examples:
      lockmigrate keys init
      lockmigrate keys init --config-dir keys --passphrase-file secret.txt
      lockmigrate keys init --post-quantum
    """
    from lockmigrate.vault.keys import create_keys

    folder = ctx.common.config_dir
    _refuse_existing(folder)
    passphrase, generated = new_passphrase(ctx.keys.passphrase_file)
    info = create_keys(folder, passphrase, generated=generated, name=name, post_quantum=post_quantum)
    return _result(folder, info, created=True)


@click.command("show", short_help="show the recipient and the signer's fingerprint")
@common
def keys_show(ctx: Context) -> KeysResult:
    """Show the public parts of the keys: no passphrase is needed.

    The recipient is what others seal for; the signer's fingerprint is what they compare by voice or on paper.

    \b
    Example:
      lockmigrate keys show --json
    """
    from lockmigrate.vault.keys import key_info

    folder = ctx.common.config_dir
    return _result(folder, key_info(folder))


@click.command("export", short_help="copy the identity, still under its passphrase, to a file")
@click.argument("file", type=_FILE)
@common
def keys_export(ctx: Context, file: Path) -> KeysResult:
    """Copy the key that opens backups to FILE. It stays under its passphrase.

    \b
    Example:
      lockmigrate keys export /media/stick/key-office.age
    """
    from lockmigrate.formats.files import write_whole
    from lockmigrate.vault.keys import export_identity, key_info

    folder = ctx.common.config_dir
    write_whole(file, export_identity(folder))
    return _result(folder, key_info(folder), file=file)


@click.command("import", short_help="take over an identity from another computer")
@click.argument("file", type=_FILE)
@click.option(
    "--signing-file", type=_FILE, metavar="FILE", help="Also take over this signing.age; else a new one is made."
)
@_PASSPHRASE_FILE
@_NAME
@common
def keys_import(ctx: Context, file: Path, signing_file: Path | None, name: str) -> KeysResult:
    """Take over FILE, a copy of another computer's identity.age, so that its backups open here.

    This computer then signs with a key of its own, unless --signing-file brings one.

    \b
    Example:
      lockmigrate keys import /media/stick/key-office.age
    """
    from lockmigrate.errors import ConfigError
    from lockmigrate.vault.keys import import_keys

    folder = ctx.common.config_dir
    _refuse_existing(folder)
    if not file.exists():
        raise ConfigError(f"{file} does not exist", hint="name a copy of identity.age", code="no-such-file")
    passphrase = known_passphrase(ctx.keys.passphrase_file, purpose=str(file))
    return _result(folder, import_keys(folder, file, passphrase, name=name, signing_file=signing_file), created=True)


def new_passphrase(passphrase_file: Path | None) -> tuple[str, bool]:
    """Return a passphrase for new keys and whether it was generated: from its file, or asked for.

    Raises:
        ConfigError: the file is wrong, the passphrase is too short, or nobody can be asked.
    """
    from lockmigrate.cli.ask import ask_passphrase

    if passphrase_file is not None:
        return _from_file(passphrase_file), False
    chosen = ask_passphrase(new=True)
    return chosen.text, chosen.generated


def known_passphrase(passphrase_file: Path | None, *, purpose: str = "the keys") -> str:
    """Return the passphrase of existing keys: from its file, or asked for.

    Raises:
        ConfigError: the file is wrong, or nobody can be asked.
    """
    from lockmigrate.cli.ask import ask_passphrase

    if passphrase_file is not None:
        return _from_file(passphrase_file)
    return ask_passphrase(new=False, purpose=purpose).text


def _refuse_existing(folder: Path) -> None:
    """Fail before anybody has written a passphrase on paper; `create_keys` refuses as well."""
    from lockmigrate.errors import ConfigError
    from lockmigrate.vault.keys import IDENTITY_FILE, SIGNING_FILE

    for name in (IDENTITY_FILE, SIGNING_FILE):
        if (folder / name).exists():
            raise ConfigError(
                f"{folder / name} exists already; keys are never replaced",
                hint="choose another --config-dir, or move the old keys to a safe place: old backups need them",
                code="keys-exist",
            )


def _from_file(path: Path) -> str:
    from lockmigrate.cli.words import say
    from lockmigrate.vault.keys import readable_by_others
    from lockmigrate.vault.passphrases import read_passphrase_file

    text = read_passphrase_file(path)
    if readable_by_others(path):
        say("warning", f"{path} is readable by others; chmod 600 {path}")
    return text


def _result(folder: Path, info: KeyInfo, *, file: Path | None = None, created: bool = False) -> KeysResult:
    from lockmigrate.cli.answers import KeysResult

    return KeysResult(
        recipient=info.recipient,
        signer=info.signer,
        public_key=info.public_key,
        folder=str(folder),
        file=str(file) if file else None,
        created=created,
        generated=info.generated,
    )
