"""Commands that move records to a unit: plan, restore, migrate."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
from msgspec.structs import replace

from lockmigrate.cli import ask
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
from lockmigrate.cli.session import AnswersFile, load_answers, opened, rest, ring_for, targets, with_answers
from lockmigrate.cli.words import say
from lockmigrate.errors import Cancelled, ConfigError
from lockmigrate.formats.files import check_out, write_whole
from lockmigrate.model.results import MigrateResult, PlanResult, RehearsalSeen, RestoreResult
from lockmigrate.operations.backup import BackupOptions, backup, check_destination, seal_reading
from lockmigrate.operations.journal import Journal
from lockmigrate.operations.keyring import Keyring
from lockmigrate.operations.on_paper import plan_for_profile, source_in_memory
from lockmigrate.operations.opening import Opened, age_of, open_file, stale
from lockmigrate.operations.reading import read_unit
from lockmigrate.operations.rehearse import profile_digest, rehearse
from lockmigrate.operations.restore import Prepared, Source, blocked, execute, prepare
from lockmigrate.operations.vault_memory import is_rehearsed, remember_rehearsal
from lockmigrate.operations.vault_upkeep import journal_note
from lockmigrate.planning.policy import NO_RECORD, Policy, parse_with
from lockmigrate.planning.skeleton import document
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.clock import local_now, utc_now
from lockmigrate.targets import Target
from lockmigrate.vault.freshness import Freshness
from lockmigrate.vault.policy import load_policy

_FILE = click.argument("file", type=click.Path(path_type=Path), shell_complete=complete_backups)
_DECIDE = (
    click.option(
        "--existing", type=click.Choice(["merge", "replace"]), help="What happens to other records on the target."
    ),
    click.option(
        "--with", "with_", metavar="LIST", help="Also move notepad, address, password, cylinder (comma-separated)."
    ),
    click.option("--suggest", is_flag=True, help="Give a new PIN where the target does not take the old one."),
    click.option("--keep-expired", is_flag=True, help="Also move codes whose last day is over."),
    click.option("--accept-look-alike", is_flag=True, help="Write templates whose algorithm only looks the same."),
    click.option(
        "--decisions", type=click.Path(path_type=Path), metavar="FILE", help="Answers to what needs input (TOML)."
    ),
    click.option("--consent", metavar="REF", help="Where the people's consent is on file."),
)
_TRUST_ONCE = click.option(
    "--trust-once", multiple=True, metavar="SHA256:…", help="Trust this signer for this run; typed in full."
)
_SKIP_REHEARSAL = click.option(
    "--skip-rehearsal", is_flag=True, help="Do not try the backup on a simulated unit first."
)
RESTORE_CUTS = 1
"""How often the line is cut in the rehearsal before a restore; `verify --rehearse` cuts it more often."""
_ACCEPT_STALE = click.option(
    "--accept-stale", is_flag=True, help="Restore a backup that is too old or has a newer one."
)
_ACCEPT_DRIFT = click.option("--accept-drift", is_flag=True, help="Restore records an older version read otherwise.")


def deciding(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that answer what a plan asks."""
    for option in reversed(_DECIDE):
        function = option(function)
    return function


def _policy(ctx: Context, given: dict[str, Any], answers: AnswersFile) -> Policy:
    return Policy(
        require_consent=load_policy(ctx.common.config_dir).require_consent,
        existing=given["existing"],
        with_=parse_with(given["with_"]),
        accept_look_alike=given["accept_look_alike"],
        decisions=answers.decisions,
        consent_ref=given["consent"],
        suggest=given["suggest"],
        keep_expired=given["keep_expired"],
        now_utc=utc_now(),
        now_local=local_now(),
    )


@click.command()
@_FILE
@click.argument("target", shell_complete=complete_targets)
@deciding
@click.option(
    "--decisions-out", type=click.Path(path_type=Path), metavar="FILE", help="Write a decisions file to begin with."
)
@click.option("--force", is_flag=True, help="Replace the file of --decisions-out if it exists.")
@_TRUST_ONCE
@unit_options
@opening_options
@common
async def plan(
    ctx: Context,
    file: Path,
    target: str,
    decisions_out: Path | None,
    force: bool,
    trust_once: tuple[str, ...],
    **decided: Any,
) -> PlanResult:
    """Say what a restore would write, change and leave out. Nothing is written.

    What needs a decision is answered by --decisions FILE: [[answer]] with key = "fingerprint/7" or reason =
    "template-look-alike", and choice = "write", "skip", "suggest" (a new PIN) or "value" (with value = what the plan
    asks for). --decisions-out writes such a file, with the answers that were given and the questions that are open;
    what is refused is overridden record by record, choice = "override".

    TARGET is a unit, which is read, or profile:NAME for a model that is not there yet. Exit code 0 when the plan can be
    carried out as it stands, 10 when something must be decided or is refused.

    \b
    Examples:
      lockmigrate plan old.age serial:///dev/ttyUSB0
      lockmigrate plan old.age profile:r503
      lockmigrate plan old.age profile:nuki --suggest --decisions-out ask.toml
    """
    answers = load_answers(decided["decisions"])
    policy = _policy(ctx, decided, answers)
    check_out(decisions_out, force=force)
    on_paper = target.removeprefix("profile:") if target.startswith("profile:") else None
    parsed = None if on_paper is not None else targets(target)[0]
    ring = ring_for(ctx, file=file, trust_once=trust_once)
    opened_file = await open_file(file, ring)
    policy = await with_answers(policy, answers, ring)
    if parsed is None:
        result = plan_for_profile(opened_file.source, on_paper or "", policy)
    else:
        async with opened(ctx, parsed) as lock:
            journal = Journal(ctx.common.config_dir)
            prepared = await drain(prepare(lock, opened_file.source, policy, journal), ctx.common)
            result = prepared.result()
    if decisions_out is not None:
        write_whole(
            decisions_out, document(policy.decisions, result.records, result.blocked_by).encode(), replace=force
        )
        what = "nothing is open" if result.executable else "read it before it is used"
        say("note", f"the decisions are in {decisions_out}: {what}")
    return result


@click.command()
@_FILE
@click.argument("target", shell_complete=complete_targets)
@deciding
@click.option("--confirm", metavar="ID", help="The target's id (see info), for scripts.")
@click.option("--dry-run", is_flag=True, help="Everything up to the first write.")
@_SKIP_REHEARSAL
@_ACCEPT_STALE
@_ACCEPT_DRIFT
@_TRUST_ONCE
@unit_options
@key_options
@common
async def restore(
    ctx: Context,
    file: Path,
    target: str,
    confirm: str | None,
    dry_run: bool,
    skip_rehearsal: bool,
    accept_stale: bool,
    accept_drift: bool,
    trust_once: tuple[str, ...],
    **decided: Any,
) -> RestoreResult | PlanResult:
    """Write a backup to a unit and read it back.

    First the backup is rehearsed: restored into a simulated unit and read back. Then only what differs is written, and
    every slot is read back and compared. Interrupted? Run it again: what is there already
    counts as done. If the target holds other records, choose --existing merge or replace; a copy of what it holds is
    sealed first.

    \b
    Examples:
      lockmigrate restore old.age serial:///dev/ttyUSB0
      lockmigrate restore old.age serial:///dev/ttyUSB0 --confirm ttyUSB0 --json
    """
    answers = load_answers(decided["decisions"])
    policy = _policy(ctx, decided, answers)
    (parsed,) = targets(target)
    ring = ring_for(ctx, file=file, trust_once=trust_once)
    opened_file = await open_file(file, ring, accept_drift=accept_drift)
    opened_file.insist()
    policy = await with_answers(policy, answers, ring)
    if not dry_run:
        _insist_on_age(opened_file, ring, accepted=accept_stale)
    rehearsal = await _rehearsed(ctx, opened_file.source, skip=skip_rehearsal or dry_run)
    result = await _restore_to(ctx, parsed, opened_file.source, policy, ring, confirm=confirm, dry_run=dry_run)
    return replace(result, rehearsal=rehearsal) if isinstance(result, RestoreResult) else result


async def _rehearsed(ctx: Context, source: Source, *, skip: bool, throw_away: bool = False) -> RehearsalSeen | None:
    """Container check 13: what cannot be restored into a simulated unit is not tried on a real one.

    Raises:
        PolicyError: code `rehearsal-failed`.
    """
    folder = ctx.common.config_dir
    if skip or not load_policy(folder).rehearse:
        return None
    if not throw_away and is_rehearsed(folder, source.backup_id, profile_digest(load_profile(source.unit.profile))):
        return None
    outcome = await drain(rehearse(source, cuts=RESTORE_CUTS), ctx.common)
    if not throw_away:
        remember_rehearsal(folder, outcome)
    outcome.insist()
    return outcome.seen()


def _insist_on_age(opened_file: Opened, ring: Keyring, *, accepted: bool) -> None:
    """Container check 11: an old backup re-admits people who were removed since.

    Raises:
        PolicyError: code `stale`, where nobody can be asked.
        Cancelled: the person said no.
    """
    judged = age_of(opened_file, ring)
    if judged is None:
        return
    if judged.state == "fresh":
        if judged.words:
            say("note", judged.sentence)
        return
    if judged.state == "warn":
        say("warning", f"the backup: {judged.sentence}")
        return
    if accepted:
        say("warning", f"the backup is stale and restored all the same: {judged.sentence}")
        _note_override(opened_file, ring, judged)
        return
    answer = ask.ask_choice(
        f"This backup is stale: {judged.sentence}. People who were removed since would get in again.",
        {"restore": "restore it all the same", "stop": "write nothing"},
        otherwise=stale(judged),
    )
    if answer != "restore":
        raise Cancelled("nothing was written")
    _note_override(opened_file, ring, judged)


def _note_override(opened_file: Opened, ring: Keyring, judged: Freshness) -> None:
    """An old backup that was let through is on record (container section 6, check 11)."""
    note = {"event": "accept-stale", "backup": opened_file.source.backup_id, "reason": ", ".join(judged.reasons)}
    journal_note(ring.choice.config_dir)(note)


async def _restore_to(
    ctx: Context,
    target: Target,
    source: Source,
    policy: Policy,
    ring: Keyring,
    *,
    confirm: str | None,
    dry_run: bool = False,
    position: int = 0,
    migrating: bool = False,
) -> RestoreResult | PlanResult:
    journal = Journal(ring.choice.config_dir)
    async with opened(ctx, target, position=position) as lock:
        preparing = prepare(lock, source, policy, journal, same_unit_allowed=not migrating)
        prepared = await drain(preparing, ctx.common)
        asking = ask.on_terminal()
        if prepared.plan.blocked_by == ("target-not-empty",) and not dry_run:
            await rest(lock, asking=asking)
            policy = replace(policy, existing=_ask_existing(prepared))
            prepared = await drain(prepare(lock, source, policy, journal), ctx.common)
        if dry_run:
            return prepared.result()
        strangers = [line for line in prepared.plan.warnings if line.startswith(NO_RECORD)]
        if strangers:
            # Whoever was to be left out would get in, were this only a remark.
            raise ConfigError(strangers[0], hint='one [[answer]] for each record, key = "pin/1" as the plan has it')
        prepared.insist()
        keep = bool(prepared.plan.existing)
        if keep:
            ring.need_signing()
            ring.unlock()
        if confirm is not None or (prepared.plan.steps and not target.simulated):
            from lockmigrate.cli.danger import danger_lines

            where = "before-restore-….age, in this folder" if keep else None
            await rest(lock, asking=asking and confirm is None)
            ask.confirm_unit(prepared.target.unit.id, confirm, danger_lines(prepared.result(), before=where))
        before = None
        if keep:
            options = BackupOptions(prefix="before-restore", label=ctx.unit.label, purpose="before-restore")
            before = (await seal_reading(prepared.target, ring, options)).file
        try:
            return await drain(execute(prepared, journal, before=before), ctx.common)
        except (asyncio.CancelledError, KeyboardInterrupt):
            say("note", "stopped while writing: what was proven stays on the unit; the same command again finishes it")
            raise


def _ask_existing(prepared: Prepared) -> Literal["merge", "replace"]:
    count = len(prepared.plan.existing)
    answer = ask.ask_choice(
        f"The target holds {count} records that this backup would not write.",
        {"merge": "keep them beside what is restored", "replace": "remove them, after a copy was sealed"},
        otherwise=blocked("target-not-empty"),
    )
    return "merge" if answer == "merge" else "replace"


@click.command()
@click.argument("old", shell_complete=complete_targets)
@click.argument("new", shell_complete=complete_targets)
@click.option("-o", "out", type=click.Path(path_type=Path), metavar="FILE", help="Where the backup is kept.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@deciding
@click.option("--confirm", metavar="ID", help="The new unit's id (see info), for scripts.")
@click.option("--dry-run", is_flag=True, help="Read both and plan; no keys, no file, nothing written.")
@_SKIP_REHEARSAL
@unit_options
@key_options
@common
async def migrate(
    ctx: Context,
    old: str,
    new: str,
    out: Path | None,
    force: bool,
    confirm: str | None,
    dry_run: bool,
    skip_rehearsal: bool,
    **decided: Any,
) -> MigrateResult | PlanResult:
    """Back up the old unit, then restore to the new one.

    The same as backup and restore, one after the other; the file is kept. Between two simulated units no keys are
    needed: throw-away ones are made, and the file is removed at the end. On one port for both, it pauses in between.

    \b
    Examples:
      lockmigrate migrate sim://r503/full sim://r503/empty
      lockmigrate migrate serial:///dev/ttyUSB0 serial:///dev/ttyUSB0 -o old.age
    """
    answers = load_answers(decided["decisions"])
    policy = _policy(ctx, decided, answers)
    first, second = targets(old, new)
    if old == new and not first.simulated and not ask.on_terminal():
        raise ConfigError(
            f"old and new unit are on the same port, {old}, and nobody is there to change them over",
            hint="run backup, change the module, then run restore",
        )
    if answers.sealed is not None:
        policy = await with_answers(policy, answers, ring_for(ctx, file=answers.path))
    if dry_run:
        async with opened(ctx, first) as lock:
            source = source_in_memory(await drain(read_unit(lock), ctx.common))
        with tempfile.TemporaryDirectory(prefix="lockmigrate-") as folder:
            ring = Keyring.for_one_run(Path(folder))
            result = await _restore_to(
                ctx, second, source, policy, ring, confirm=None, dry_run=True, position=1, migrating=True
            )
        if isinstance(result, PlanResult):
            return result
        raise TypeError("a dry run returned another kind of result")
    if first.simulated and second.simulated and out is None and not ctx.keys.any_given:
        with tempfile.TemporaryDirectory(prefix="lockmigrate-") as folder:
            ring = Keyring.for_one_run(Path(folder))
            options = BackupOptions(folder=Path(folder), label=ctx.unit.label)
            done = await _migrate(ctx, first, second, policy, ring, options, confirm, skip_rehearsal)
            return replace(done, throw_away_keys=True)
    options = BackupOptions(out=out, force=force, label=ctx.unit.label, consent_ref=policy.consent_ref)
    check_destination(options)
    ring = ring_for(ctx, seal=True)
    return await _migrate(ctx, first, second, policy, ring, options, confirm, skip_rehearsal)


async def _migrate(
    ctx: Context,
    old: Target,
    new: Target,
    policy: Policy,
    ring: Keyring,
    options: BackupOptions,
    confirm: str | None,
    skip_rehearsal: bool,
) -> MigrateResult:
    async with opened(ctx, old) as lock:
        sealed = await drain(backup(lock, ring, options), ctx.common)
    opened_file = await open_file(Path(sealed.file), ring)
    opened_file.insist()
    rehearsal = await _rehearsed(ctx, opened_file.source, skip=skip_rehearsal, throw_away=ring.throw_away)
    if old.text == new.text and not old.simulated:
        ask.ask_enter("The backup is sealed. Connect the new module to the same port, then press Enter")
    restored = await _restore_to(
        ctx, new, opened_file.source, policy, ring, confirm=confirm, position=1, migrating=True
    )
    if not isinstance(restored, RestoreResult):
        raise TypeError("a restore returned another kind of result")
    return MigrateResult(
        exit_code=restored.exit_code or sealed.exit_code,
        warnings=tuple(dict.fromkeys((*sealed.warnings, *restored.warnings))),
        backup=sealed,
        restore=replace(restored, rehearsal=rehearsal),
        file=sealed.file,
        backup_id=sealed.backup_id,
        unit=restored.unit,
        records=restored.records,
        counts=restored.counts,
        gaps=sealed.gaps,
        losses=restored.losses,
    )
