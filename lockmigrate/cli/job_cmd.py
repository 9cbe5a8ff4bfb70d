"""Jobs: many doors, one folder, offline. Each step is one of the other commands, called as a person would."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec.structs import replace

from lockmigrate.cli import backup_cmd, restore_cmd
from lockmigrate.cli.failure import translate
from lockmigrate.cli.options import Context, UnitOptions, common, complete_targets, key_options
from lockmigrate.cli.render import json_line, refusal_of
from lockmigrate.cli.session import opened, targets
from lockmigrate.cli.tables import Block, Facts, Line, Table
from lockmigrate.cli.words import counted, say
from lockmigrate.errors import ConfigError
from lockmigrate.model.job_results import DoorSeen, JobResult, StepName, StepSeen
from lockmigrate.model.results import BackupResult, Result
from lockmigrate.operations.job_steps import QUESTIONS_FILE, Outcome, Work, insist_on_unit, run_door, see_job
from lockmigrate.operations.jobs import STEPS, Door, add_door, is_profile, load_job, new_job
from lockmigrate.profiles import load_profile

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_PATH = click.Path(path_type=Path)
_COMMANDS: Final[dict[StepName, click.Command]] = {
    "backup": backup_cmd.backup,
    "plan": restore_cmd.plan,
    "restore": restore_cmd.restore,
    "verify": backup_cmd.verify,
}
_SHARED: Final = frozenset(
    {"json_", "verbose", "config_dir", "progress", "no_progress", "profile", "credential_files", "trace", "label"}
    | {"passphrase_file", "recipients", "identities", "symmetric", "backup_passphrase_file", "key_copy"}
)
"""Parameters that become the `Context`; a step takes them from `job run`."""


@click.command()
@_FOLDER
@click.option("--name", metavar="TEXT", help="What people call the job; else the folder's name.")
@common
def job_new(ctx: Context, folder: Path, name: str | None) -> JobResult:
    """Begin a job: a folder for many doors, with a job.toml that people can read.

    \b
    Example:
      lockmigrate job new hotel
    """
    return see_job(new_job(folder, name))


@click.command()
@_FOLDER
@click.argument("door")
@click.option("--old", metavar="TARGET", shell_complete=complete_targets, help="The old unit, or its model.")
@click.option("--new", metavar="TARGET", shell_complete=complete_targets, help="The new unit, or its model.")
@click.option("--unit", metavar="ID", help="The old unit's id (see info): no other is read.")
@click.option("--new-unit", metavar="ID", help="The new unit's id: no other is written, and none is asked for.")
@click.option("--names", type=_PATH, metavar="CSV", help="Names: lines slot,name or fingerprint/42,name.")
@click.option("--decisions", type=_PATH, metavar="FILE", help="Answers to what needs input (TOML).")
@click.option(
    "--existing", type=click.Choice(["merge", "replace"]), help="What happens to other records on the target."
)
@click.option("--consent", metavar="REF", help="Where the people's consent is on file.")
@click.option(
    "--credential-file", "door_credentials", type=_PATH, multiple=True, metavar="FILE",
    help="What opens the units; twice for old and new. Only its path is kept.",
)  # fmt: skip
@common
def job_add(
    ctx: Context,
    folder: Path,
    door: str,
    old: str | None,
    new: str | None,
    names: Path | None,
    decisions: Path | None,
    door_credentials: tuple[Path, ...],
    **given: Any,
) -> JobResult:
    """Add a door to a job, or change one: only what is given changes.

    --old and --new are targets, or models (r503) as long as the unit is not there. The lists are copied into the door's
    folder; edit decisions.toml there, and the steps that it matters to are run again.

    \b
    Example:
      lockmigrate job add hotel "Room 12" --old serial:///dev/ttyUSB0 --new r503
    """
    job = load_job(folder)
    known = {item.name.casefold(): item for item in job.file.door}.get(door.casefold())
    for text in (old, new):
        if text is not None and is_profile(text):
            load_profile(text.removeprefix("profile:"))
        elif text is not None:
            targets(text)
    changes = {name: value for name, value in {"old": old, "new": new, **given}.items() if value is not None}
    if door_credentials:
        changes["credential_files"] = tuple(str(path.resolve()) for path in door_credentials)
    if known is None:
        if old is None or new is None:
            raise ConfigError("a new door needs --old and --new", hint="targets, or models such as r503")
        made = msgspec.convert({"name": door, **changes}, Door)
    else:
        made = replace(known, **changes)
    return see_job(add_door(job, made, names=names, decisions=decisions))


@click.command()
@_FOLDER
@click.argument("door", required=False)
@click.option("--only", type=click.Choice(STEPS), help="Run this step and no other.")
@click.option("--again", is_flag=True, help="Also repeat what is finished.")
@click.option(
    "--credential-file", "door_credentials", type=_PATH, multiple=True, envvar="LOCKMIGRATE_CREDENTIAL_FILE",
    metavar="FILE", help="Instead of those that job add was given.",
)  # fmt: skip
@key_options
@common
async def job_run(
    ctx: Context,
    folder: Path,
    door: str | None,
    only: StepName | None,
    again: bool,
    door_credentials: tuple[Path, ...],
) -> JobResult:
    """Run what can be run: backup, plan, restore, verify, door by door.

    A door that fails does not stop the others. Run it again at any time: what is finished is not repeated, unless what
    it was done with has changed. Exit code 0 if every step that was asked for is done, else 9; job status says more.

    \b
    Examples:
      lockmigrate job run hotel "Room 12"
      lockmigrate job run hotel --only backup
    """
    job = load_job(folder)
    wanted = [job.door(door)] if door is not None else list(job.file.door)
    steps = _Steps(ctx, door_credentials)
    ran: list[str] = []
    for item in wanted:
        ran += await run_door(job, item, steps.perform, only=only, again=again)
    seen = see_job(job, tuple(ran))
    names = {item.name for item in wanted}
    done = all(
        step.state == "done"
        for item in seen.doors
        if item.door in names
        for step in item.steps
        if only in (None, step.step)
    )
    return replace(seen, exit_code=0 if done else 9)


@click.command()
@_FOLDER
@common
def job_status(ctx: Context, folder: Path) -> JobResult:
    """Say how far each door is and what to do next.

    \b
    Example:
      lockmigrate job status hotel
    """
    return see_job(load_job(folder))


class _Steps:
    """Runs a step as its own command does, with the keys of this run."""

    def __init__(self, ctx: Context, credentials: tuple[Path, ...]) -> None:
        self._ctx, self._credentials = ctx, credentials

    async def perform(self, door: Door, step: StepName, work: Work) -> Outcome:
        """Call the command of a step.

        Raises:
            LockmigrateError: what the command ends with; unexpected ones leave their traceback in a file.
        """
        say("note", f"{door.name}: {step}")
        try:
            return await self._perform(door, step, work)
        except Exception as error:  # one door's bug does not stop the others
            raise translate(error) from error

    async def _perform(self, door: Door, step: StepName, work: Work) -> Outcome:
        old = step == "backup"
        ctx = self._context(door, old=old)
        target = door.old if old else door.new
        wanted = door.unit if old else door.new_unit
        if not is_profile(target):
            await self._look(ctx, target, wanted, None if old else work.old_unit)
        result = await self._call(ctx, step, _arguments(door, step, work))
        unit = getattr(result, "target", None) if step == "verify" else getattr(result, "unit", None)
        if unit is not None and not is_profile(target):
            insist_on_unit(unit.id, unit.serial, wanted, old_unit=None if old else work.old_unit)
        made = isinstance(result, BackupResult)
        return Outcome(
            document=json_line(result),
            exit_code=result.exit_code,
            error=refusal_of(result),
            unit=(unit.serial or unit.id) if unit is not None else None,
            file=work.backup if made else None,
        )

    def _context(self, door: Door, *, old: bool) -> Context:
        files = self._credentials or tuple(Path(text) for text in door.credential_files)
        mine = files[:1] if old else files[-1:]
        keys = self._ctx.keys
        if keys.key_copy is None:
            keys = _no_copy(keys)  # no key in the folder, also none that is locked
        return Context(common=self._ctx.common, unit=UnitOptions(credential_files=mine, label=door.name), keys=keys)

    async def _look(self, ctx: Context, target: str, wanted: str | None, old_unit: str | None) -> None:
        """Ask who is there before anything is read or written."""
        if wanted is None and old_unit is None:
            return
        (parsed,) = targets(target)
        async with opened(ctx, parsed) as lock:
            unit = await lock.identify()
        insist_on_unit(unit.id, unit.serial, wanted, old_unit=old_unit)

    async def _call(self, ctx: Context, step: StepName, arguments: list[str]) -> Result:
        """Let click fill in what was not given, and call the function below the options."""
        command = _COMMANDS[step]
        # A command keeps the help option that it is first given, so it gets that of the program here too.
        with command.make_context(step, arguments, help_option_names=["-h", "--help"]) as parsed:
            given = {name: value for name, value in parsed.params.items() if name not in _SHARED}
            function: Any = command.callback
            result: Result = await function.__wrapped__(ctx, **given)
        return result


def _no_copy(keys: Any) -> Any:
    import dataclasses

    return dataclasses.replace(keys, key_copy=False)


def _arguments(door: Door, step: StepName, work: Work) -> list[str]:
    """The command line of a step."""
    if step == "backup":
        more = [door.old, "-o", str(work.backup)]
        more += ["--names", str(work.names)] if work.names else []
        return [*more, *(["--consent", door.consent] if door.consent else [])]
    target = f"profile:{door.new.removeprefix('profile:')}" if is_profile(door.new) else door.new
    more = [str(work.backup), target]
    more += ["--decisions", str(work.decisions)] if work.decisions else []
    if step == "verify":
        return more
    if step == "plan":
        more += ["--decisions-out", str(work.place / QUESTIONS_FILE), "--force"]
    more += ["--existing", door.existing] if door.existing else []
    more += ["--consent", door.consent] if door.consent else []
    if step == "restore" and door.new_unit is not None:
        more += ["--confirm", door.new_unit]
    return more


# ---- what people see ------------------------------------------------------------------------------------------------


def screen(result: JobResult) -> list[Block]:
    """Return the blocks of a job."""
    head = f"{counted(len(result.doors), 'door')}, {result.finished} finished"
    head += f", {result.failed} in trouble" if result.failed else ""
    blocks: list[Block] = [Facts([("job", f"{result.name}  {result.folder}"), ("doors", head)])]
    if not result.doors:
        return [*blocks, Line(), Line(f"next: lockmigrate job add {result.folder} DOOR --old TARGET --new TARGET")]
    rows = [(door.door, *(_cell(step) for step in door.steps)) for door in result.doors]
    blocks += [Line(), Table(("door", *STEPS), rows), Line(), Line("next:", "bold")]
    return [*blocks, Facts([(door.door, _words(door)) for door in result.doors], indent=2, style=None)]


def _cell(step: StepSeen) -> str:
    code = f" ({step.exit})" if step.exit and step.state in ("done", "failed") else ""
    return {"open": "-", "waiting": "waits"}.get(step.state, step.state) + code


def _words(door: DoorSeen) -> str:
    return door.next
