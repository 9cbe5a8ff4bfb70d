"""Commands on one unit: info, try, wipe."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from lockmigrate.cli import ask
from lockmigrate.cli.options import Context, common, complete_targets, key_options, unit_options
from lockmigrate.cli.progress import drain
from lockmigrate.cli.session import opened, rest, ring_for, targets
from lockmigrate.errors import MismatchError
from lockmigrate.model.results import InfoResult, TryResult, Unit, WipeResult
from lockmigrate.operations import units
from lockmigrate.operations.backup import BackupOptions, check_destination, seal_reading
from lockmigrate.operations.certificate import check_certificate, with_certificate
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.opening import open_file
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.operations.verify import verify_unit
from lockmigrate.protocols import Scope, Uncounted

_TARGET = click.argument("target", shell_complete=complete_targets)


@click.command()
@_TARGET
@unit_options
@common
async def info(ctx: Context, target: str) -> InfoResult:
    """Say what a unit is and what can be carried.

    Reads only. Shows model, serial number or port, what it holds and can hold, the profile that was
    chosen, and what a backup of it will and will not contain.

    \b
    Example:
      lockmigrate info serial:///dev/ttyUSB0
    """
    (parsed,) = targets(target)
    async with opened(ctx, parsed) as lock:
        return await units.info(lock, label=ctx.unit.label)


@click.command("try")
@_TARGET
@click.option("--timeout", "timeout_s", type=click.FloatRange(1, 600), default=units.TOUCH_S, metavar="SECONDS")
@unit_options
@common
async def try_finger(ctx: Context, target: str, timeout_s: float) -> TryResult:
    """Lay a finger on the sensor: which slot does it match?

    The last proof of a restore is a person at the door. Exit code 0 if the finger is known, 8 if not.

    \b
    Example:
      lockmigrate try serial:///dev/ttyUSB0
    """
    (parsed,) = targets(target)
    async with opened(ctx, parsed) as lock:
        if not ctx.common.json:
            click.echo(f"Lay a finger on the sensor within {timeout_s:g} s …", err=True)
        return await units.try_finger(lock, timeout_s=timeout_s)


@click.command()
@_TARGET
@click.option(
    "-o",
    "out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Seal the backup made first here; FILE.certificate.json says what was erased.",
)
@click.option(
    "--backup",
    "existing_backup",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="This backup holds it all already: compared, then no other is made.",
)
@click.option("--no-backup", is_flag=True, help="Erase without a backup.")
@click.option("--confirm", metavar="ID", help="The unit's id (see info), for scripts.")
@click.option("--factory", is_flag=True, help="Reset to the factory's state, where the unit can.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and stop.")
@unit_options
@key_options
@common
async def wipe(
    ctx: Context,
    target: str,
    out: Path | None,
    existing_backup: Path | None,
    no_backup: bool,
    confirm: str | None,
    factory: bool,
    dry_run: bool,
) -> WipeResult:
    """Erase people's data from a unit that goes out of service.

    Users, PINs, cards, fingerprints, time zones, notes and log go; settings, address, password, network and speed
    stay, so that the lock's own controller still finds its module, and you your terminal. A backup is sealed first,
    unless --backup FILE is one that equals the unit, or --no-backup is given.

    \b
    Example:
      lockmigrate wipe serial:///dev/ttyUSB0 --backup old.age
    """
    if existing_backup is not None and no_backup:
        raise click.UsageError("--backup and --no-backup exclude each other")
    (parsed,) = targets(target)
    options = BackupOptions(out=out, label=ctx.unit.label, prefix="before-wipe", purpose="wipe")
    sealing = existing_backup is None and not no_backup and not dry_run
    ring = None
    if out is not None and not dry_run:
        check_certificate(out)
    if sealing:
        check_destination(options)
        ring = ring_for(ctx, seal=True)
        ring.need_signing()
        ring.unlock()
    comparison = None
    if existing_backup is not None:
        comparing = ring_for(ctx, file=existing_backup)
        comparison = await open_file(existing_backup, comparing)
        comparison.insist()
    async with opened(ctx, parsed) as lock:
        if isinstance(lock, Uncounted):
            await lock.count()
        unit = replace(await lock.identify(), label=ctx.unit.label)
        units.insist_erasable(unit)
        if dry_run:
            return WipeResult(unit=unit, erased={}, left=unit.counts, dry_run=True)
        reading = None
        if sealing:
            reading = await drain(read_unit(lock, label=ctx.unit.label), ctx.common)
        if comparison is not None:
            verified = await drain(verify_unit(lock, comparison, Journal(ctx.common.config_dir)), ctx.common)
            # A unit that was wiped half-way holds less than the backup, never anything else.
            strange = [record.key for record in verified.records if "notepad-in-use" in record.reasons]
            if verified.extra or strange:
                raise MismatchError(
                    f"the unit holds what {existing_backup} does not, so nothing was erased",
                    hint="leave --backup out, then a new one is sealed first",
                )
        if not parsed.simulated or confirm is not None:
            await rest(lock, asking=confirm is None and ask.on_terminal())
            ask.confirm_unit(unit.id, confirm, _danger(unit, sealing=sealing, compared=existing_backup))
        file = str(existing_backup) if existing_backup else None
        if isinstance(reading, Reading) and ring is not None:
            file = (await seal_reading(reading, ring, options)).file
        scope = Scope.FACTORY if factory else Scope.PEOPLE
        result = await drain(units.wipe(lock, unit, scope=scope, backup=file), ctx.common)
        result = replace(result, erased=unit.counts)
        return result if out is None else with_certificate(result, scope, out)


def _danger(unit: Unit, *, sealing: bool, compared: Path | None) -> list[str]:
    held = ", ".join(f"{count} {name}" for name, count in unit.counts.items() if count) or "nothing that it counts"
    after = "A backup is sealed first." if sealing else "No backup is made now."
    if compared is not None:
        after = f"{compared} was compared and holds everything that is there."
    return [f'This erases {held} from the unit "{unit.id}", and what people left in its notes, tables and log.', after]
