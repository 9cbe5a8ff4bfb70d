"""Commands on backup files: backup, show, verify."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from msgspec.structs import replace

from lockmigrate.cli.options import (
    Context,
    common,
    complete_backups,
    complete_targets,
    key_options,
    opening_options,
    unit_options,
)
from lockmigrate.cli.progress import drain
from lockmigrate.cli.session import load_answers, opened, ring_for, targets, with_answers
from lockmigrate.errors import ConfigError
from lockmigrate.model.results import BackupResult, ShowResult, VerifyResult
from lockmigrate.operations.backup import BackupOptions, check_destination, read_names
from lockmigrate.operations.backup import backup as run_backup
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.opening import age_remarks, open_file
from lockmigrate.operations.rehearse import RehearsalOutcome
from lockmigrate.operations.rehearse import rehearse as run_rehearsal
from lockmigrate.operations.show import show as show_opened
from lockmigrate.operations.vault_memory import remember_rehearsal
from lockmigrate.operations.verify import verify_file, verify_unit
from lockmigrate.planning.policy import Policy
from lockmigrate.protocols.clock import local_now, utc_now

_FILE = click.argument("file", type=click.Path(path_type=Path), shell_complete=complete_backups)
_TRUST_ONCE = click.option(
    "--trust-once", multiple=True, metavar="SHA256:…", help="Trust this signer for this run; typed in full."
)


@click.command()
@click.argument("target", shell_complete=complete_targets)
@click.option(
    "-o", "out", type=click.Path(path_type=Path), metavar="FILE", help="The file; else a name that tells nothing."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--read-twice", is_flag=True, help="Read every template twice and compare.")
@click.option(
    "--names", type=click.Path(path_type=Path), metavar="CSV", help="Names: lines slot,name or fingerprint/42,name."
)
@click.option("--consent", metavar="REF", help="Where the people's consent is on file.")
@click.option(
    "--expires", "expires_days", type=click.IntRange(1, 36500), metavar="DAYS", help="Purge may delete it then."
)
@click.option("--strict", is_flag=True, help="Announced gaps end with exit code 9 too.")
@click.option("--dry-run", is_flag=True, help="Read everything, seal nothing.")
@unit_options
@key_options
@common
async def backup(
    ctx: Context,
    target: str,
    out: Path | None,
    force: bool,
    read_twice: bool,
    names: Path | None,
    consent: str | None,
    expires_days: int | None,
    strict: bool,
    dry_run: bool,
) -> BackupResult:
    """Read a unit into an encrypted, signed file.

    Everything the unit gives out is read, sealed for your key, signed, written, and verified from the disk before the
    file gets its name. What the unit will not give out is listed. The unit is not changed.

    \b
    Examples:
      lockmigrate backup serial:///dev/ttyUSB0 -o old.age
      lockmigrate backup serial://socket://192.0.2.7:4000 --label "Side entrance"
    """
    (parsed,) = targets(target)
    options = BackupOptions(
        out=out,
        label=ctx.unit.label,
        twice=read_twice,
        force=force,
        strict=strict,
        names=read_names(names) if names else {},
        consent_ref=consent,
        expires_days=expires_days,
    )
    check_destination(options)
    if dry_run:
        from lockmigrate.operations.backup import rehearse_reading

        async with opened(ctx, parsed) as lock:
            return await drain(rehearse_reading(lock, options), ctx.common)
    ring = ring_for(ctx, seal=True)
    ring.need_signing()
    ring.recipients()
    ring.passphrase_for_new()
    ring.unlock()
    async with opened(ctx, parsed) as lock:
        return await drain(run_backup(lock, ring, options), ctx.common)


@click.command()
@_FILE
@click.option("--reveal", is_flag=True, help="Show hidden values too; on a terminal only.")
@_TRUST_ONCE
@opening_options
@common
async def show(ctx: Context, file: Path, reveal: bool, trust_once: tuple[str, ...]) -> ShowResult:
    """Show what a backup holds, without secrets.

    A backup of an unknown signer is shown too, says so first, and ends with exit code 10.

    \b
    Example:
      lockmigrate show old.age
    """
    if reveal and ctx.common.json:
        raise click.UsageError("--reveal and --json exclude each other")
    if reveal and not sys.stdout.isatty():
        raise ConfigError("--reveal shows secrets on a terminal only", hint="do not pipe or redirect it")
    ring = ring_for(ctx, file=file, trust_once=trust_once)
    opened_file = await open_file(file, ring)
    shown = show_opened(opened_file, reveal=reveal)
    return replace(shown, warnings=(*shown.warnings, *age_remarks(opened_file, ring)))


@click.command()
@_FILE
@click.argument("target", required=False, shell_complete=complete_targets)
@click.option("--rehearse", is_flag=True, help="Restore it into a simulated unit and read that back.")
@click.option(
    "--decisions", type=click.Path(path_type=Path), metavar="FILE", help="The answers with which it was restored."
)
@_TRUST_ONCE
@unit_options
@opening_options
@common
async def verify(
    ctx: Context, file: Path, target: str | None, rehearse: bool, decisions: Path | None, trust_once: tuple[str, ...]
) -> VerifyResult:
    """Check a backup: alone, or against a unit.

    Alone: it decrypts, is signed by someone you trust, is whole, and its records are what its raw tables say.
    With --rehearse: it is restored into a simulated unit of the same model, which is read back; no hardware is needed.
    With TARGET: exit code 0 exactly when a restore would write nothing and nothing else is on the unit, else 8. What
    was left out, or written otherwise, by --decisions is judged by the same file.

    \b
    Examples:
      lockmigrate verify old.age
      lockmigrate verify old.age serial:///dev/ttyUSB0
    """
    parsed = targets(target)[0] if target else None
    if decisions is not None and parsed is None:
        raise click.UsageError("--decisions is for a comparison with TARGET")
    answers = load_answers(decisions)
    policy = Policy(existing="replace", now_utc=utc_now(), now_local=local_now())
    ring = ring_for(ctx, file=file, trust_once=trust_once)
    opened_file = await open_file(file, ring)
    remarks = list(age_remarks(opened_file, ring))
    rehearsal = None
    if rehearse:
        rehearsal = await drain(run_rehearsal(opened_file.source), ctx.common)
        untold = remember_rehearsal(ctx.common.config_dir, rehearsal)
        remarks += [untold] if untold else []
    if parsed is None:
        return _beside(verify_file(opened_file), rehearsal, remarks)
    policy = await with_answers(policy, answers, ring)
    async with opened(ctx, parsed) as lock:
        verified = await drain(verify_unit(lock, opened_file, Journal(ctx.common.config_dir), policy), ctx.common)
        return _beside(verified, rehearsal, remarks)


def _beside(result: VerifyResult, outcome: RehearsalOutcome | None, remarks: list[str]) -> VerifyResult:
    """Add a rehearsal and remarks to a result; a rehearsal that failed is a refusal, exit code 10."""
    result = replace(result, warnings=(*result.warnings, *remarks))
    if outcome is None:
        return result
    return replace(result, rehearsal=outcome.seen(), exit_code=result.exit_code if outcome.ok else 10)
