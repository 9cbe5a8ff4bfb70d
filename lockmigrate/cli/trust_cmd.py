"""`trust add|list|revoke`: whose signatures count."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.cli.answers import SignersResult

MAX_KEY_BYTES = 16 * 1024


@click.command("add", short_help="trust another computer's signing key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--confirm", metavar="SHA256:…", help="The fingerprint as its owner told you.")
@click.option("--name", metavar="NAME", help="Whose key it is; else what the key's own comment says.")
@common
def trust_add(ctx: Context, file: Path, confirm: str | None, name: str | None) -> SignersResult:
    """Trust the signing key in FILE, an OpenSSH public key (signing.pub of the other computer).

    Its owner reads the fingerprint to you ("lockmigrate keys show"): type what you hear, not what you see here.

    \b
    Example:
      lockmigrate trust add signing.pub --confirm SHA256:0123…
    """
    from lockmigrate.cli import ask
    from lockmigrate.errors import ConfigError
    from lockmigrate.formats.files import read_whole
    from lockmigrate.formats.sshsig import parse_public_key_line
    from lockmigrate.vault.trust import add_signer

    data = read_whole(file, max_bytes=MAX_KEY_BYTES)
    if data is None:
        raise ConfigError(f"{file} is not a public key file", code="bad-public-key")
    line = data.decode("utf-8", "replace").strip()
    _, comment = parse_public_key_line(line)
    if confirm is None:
        confirm = ask.ask_text(
            "Type the fingerprint as its owner reads it to you",
            otherwise=ConfigError(
                "nobody is there to compare the fingerprint",
                hint="a script gives what the owner told: --confirm SHA256:…",
                code="confirm-needed",
            ),
        )
    folder = ctx.common.config_dir
    make_folder(folder)
    signer = add_signer(folder, line, name or comment or file.stem, confirm)
    return _signers(folder, added=signer.fingerprint)


@click.command("list", short_help="list the trusted signers")
@common
def trust_list(ctx: Context) -> SignersResult:
    """List the keys whose backups may be restored on this computer.

    \b
    Example:
      lockmigrate trust list
    """
    return _signers(ctx.common.config_dir)


@click.command("revoke", short_help="never believe a signing key again")
@click.argument("which", metavar="SHA256:…|FILE")
@common
def trust_revoke(ctx: Context, which: str) -> SignersResult:
    """Never believe a signing key again: one that was lost, stolen, or belongs to someone who left.

    Give the fingerprint of a trusted signer, or the public key FILE of one that was never trusted. Its backups, old
    ones too, can then be looked at and not restored; --trust-once does not help.

    \b
    Example:
      lockmigrate trust revoke SHA256:0123…
    """
    from lockmigrate.errors import ConfigError
    from lockmigrate.formats.files import read_whole
    from lockmigrate.vault.trust import revoke_signer

    folder = ctx.common.config_dir
    line = which
    if not which.startswith("SHA256:"):
        data = read_whole(Path(which), max_bytes=MAX_KEY_BYTES)
        if data is None:
            raise ConfigError(f"{which} is not a public key file", code="bad-public-key")
        line = data.decode("utf-8", "replace").strip()
    make_folder(folder)
    return _signers(folder, revoked=revoke_signer(folder, line))


def make_folder(folder: Path) -> None:
    """Make the config directory, for its owner only.

    Raises:
        FileTrouble: it cannot be made.
    """
    from lockmigrate.formats.files import file_trouble

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise file_trouble("make", folder, error) from None


def _signers(folder: Path, *, added: str | None = None, revoked: str | None = None) -> SignersResult:
    from lockmigrate.cli.answers import SignerSeen, SignersResult
    from lockmigrate.vault.trust import trusted

    def time(instant: datetime | None) -> str | None:
        return instant.isoformat() if instant is not None else None

    seen = tuple(
        SignerSeen(
            name=signer.name,
            fingerprint=signer.fingerprint,
            valid_after=time(signer.valid_after),
            valid_before=time(signer.valid_before),
            revoked=signer.revoked,
        )
        for signer in trusted(folder)
    )
    return SignersResult(folder=str(folder), signers=seen, added=added, revoked=revoked)
