"""What differs between two backups or units, without a secret."""

from __future__ import annotations

from pathlib import Path

import click

from lockmigrate.cli.options import Context, common, complete_backups, opening_options, unit_options
from lockmigrate.cli.parts import KIND_WORDS, counts_text, keys_text, section, unit_name
from lockmigrate.cli.progress import drain
from lockmigrate.cli.session import opened, ring_for, targets
from lockmigrate.cli.tables import Block, Facts, Line
from lockmigrate.cli.words import counted
from lockmigrate.model.comparison import ChangedRecord, DiffRecord, DiffResult, DiffSide
from lockmigrate.operations.diff import Side, diff, side_of_file, side_of_unit
from lockmigrate.operations.opening import open_file
from lockmigrate.operations.reading import read_unit
from lockmigrate.targets import Target

MOST_CHANGED = 200
"""Lines of a screen; --json lists all."""


@click.command("diff")
@click.argument("a", shell_complete=complete_backups)
@click.argument("b", shell_complete=complete_backups)
@click.option("--trust-once", multiple=True, metavar="SHA256:…", help="Trust this signer for this run; typed in full.")
@unit_options
@opening_options
@common
async def diff_command(ctx: Context, a: str, b: str, trust_once: tuple[str, ...]) -> DiffResult:
    """Say what differs between A and B, each a backup file or a unit.

    Records of one unit are matched by their numbers, those of two units by what they are. Secrets are compared and
    never shown: 8 digits, made anew for every run, stand for them. Exit code 0 if nothing differs, else 8.

    \b
    Examples:
      lockmigrate diff monday.age friday.age
      lockmigrate diff old.age serial:///dev/ttyUSB0
    """
    sides = [targets(text)[0] if "://" in text else Path(text) for text in (a, b)]
    files = [side for side in sides if isinstance(side, Path)]
    ring = ring_for(ctx, file=files[0], trust_once=trust_once) if files else None
    read: list[Side] = []
    units = 0
    for side in sides:
        if isinstance(side, Target):
            async with opened(ctx, side, position=units) as lock:
                read.append(side_of_unit(await drain(read_unit(lock, label=ctx.unit.label), ctx.common)))
            units += 1
        elif ring is not None:
            read.append(side_of_file(await open_file(side, ring)))
    return diff(read[0], read[1])


# ---- what people see ------------------------------------------------------------------------------------------------


def screen(result: DiffResult) -> list[Block]:
    """Return the blocks of a comparison."""
    rows = [("A", _side(result.a)), ("B", _side(result.b))]
    rows.append(("matched", "by their numbers" if result.matched_by == "key" else "by what they are"))
    rows.append(("equal", counted(result.equal, "record")))
    blocks: list[Block] = [Facts(rows)]
    blocks += section(f"on B and not on A ({len(result.added)}):", _by_kind(result.added), style="bold yellow")
    blocks += section(f"on A and not on B ({len(result.removed)}):", _by_kind(result.removed), style="bold yellow")
    changed = [(_title(item), _fields(item)) for item in result.changed[:MOST_CHANGED]]
    blocks += section(f"changed ({len(result.changed)}):", changed, style="bold yellow")
    if len(result.changed) > MOST_CHANGED:
        blocks.append(Line(f"and {len(result.changed) - MOST_CHANGED} more (--json lists all)", indent=2))
    if result.not_compared:
        blocks += [Line(), Line(f"not compared: {_tally(result.not_compared)}")]
    if not result.exit_code:
        blocks += [Line(), Line("nothing differs", "bold green")]
    return blocks


def _side(side: DiffSide) -> str:
    held = counts_text(side.counts) or "nothing"
    return f"{side.file or 'read now'}  {unit_name(side.unit)}  {held}"


def _tally(keys: tuple[str, ...]) -> str:
    """Count keys by their kind."""
    kinds: dict[str, int] = {}
    for key in keys:
        kinds[key.partition("/")[0]] = kinds.get(key.partition("/")[0], 0) + 1
    words = {"app_key": "app key", **KIND_WORDS}
    return ", ".join(
        kind if kind == "log" else counted(number, words.get(kind, kind)) for kind, number in kinds.items()
    )


def _by_kind(records: tuple[DiffRecord, ...]) -> list[tuple[str, str]]:
    kinds: dict[str, list[DiffRecord]] = {}
    for item in records:
        kinds.setdefault(item.kind, []).append(item)
    return [
        (KIND_WORDS.get(kind, kind), " ".join([keys_text([item.key for item in found]), *_names(found)]))
        for kind, found in kinds.items()
    ]


def _names(found: list[DiffRecord]) -> list[str]:
    names = [item.name for item in found if item.name]
    return [f"({', '.join(names[:10])}{', …' if len(names) > 10 else ''})"] if names else []


def _title(item: ChangedRecord) -> str:
    key = f"{item.key} → {item.other_key}" if item.other_key else item.key
    return f"{key} {item.name}" if item.name else key


def _fields(item: ChangedRecord) -> str:
    return "; ".join(
        f"{name.replace('_', ' ')}: {_word(change.a)} → {_word(change.b)}" for name, change in item.fields.items()
    )


def _word(value: str | int | bool | None) -> str:
    if value is None or value == "":
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
