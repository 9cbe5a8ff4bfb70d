"""Will it fit: what moves from one unit or model to another, and which of those in stock will do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from lockmigrate.cli.options import Context, common, complete_targets, unit_options
from lockmigrate.cli.parts import counts_text, unit_name
from lockmigrate.cli.session import opened, targets
from lockmigrate.cli.tables import Block, Facts, Line, Table
from lockmigrate.errors import ConfigError
from lockmigrate.model.comparison import Compared, CompatResult, KindFate
from lockmigrate.model.results import Unit
from lockmigrate.operations.compat import compare, read_stock, side_of, side_on_paper
from lockmigrate.operations.compat_rules import Side

_PROFILE = re.compile(r"(profile:)?(?P<name>[a-z0-9]+(-[a-z0-9]+)*)")
_FITS = {
    "yes": ("fits: what people open with moves", "bold green"),
    "partly": ("fits in part", "bold yellow"),
    "no": ("does not fit: nothing that people open with moves", "bold red"),
}


@click.command()
@click.argument("old", shell_complete=complete_targets)
@click.argument("new", required=False, shell_complete=complete_targets)
@click.option(
    "--stock",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="What is on the shelf: lines profile,count,minimum[,label].",
)
@unit_options
@common
async def compat(ctx: Context, old: str, new: str | None, stock: Path | None) -> CompatResult:
    """Say what would move from OLD to NEW, before NEW is bought.

    OLD and NEW are units, which are asked who they are, or models: r503, profile:nuki. No backup and no keys are
    needed, and nothing is written. With --stock, every model on the shelf is compared, NEW may be left out, and what
    has fallen below its minimum is named.

    \b
    Examples:
      lockmigrate compat r503 as608
      lockmigrate compat ble://C1:5E:AA:11:22:33 nuki --credential-file lock.toml
      lockmigrate compat serial:///dev/ttyUSB0 --stock shelf.csv
    """
    if new is None and stock is None:
        raise ConfigError("nothing to compare with", hint="name a second unit or model, or --stock FILE.csv")
    shelf = read_stock(stock) if stock is not None else []
    parsed = [_parsed(text) for text in (old, new) if text is not None]
    sides = [await _side(ctx, what, position) for position, what in enumerate(parsed)]
    return compare(sides[0], sides[1:], shelf)


def _parsed(text: str) -> Any:
    """A side that is on paper, or a target: all is understood before anything is opened."""
    named = _PROFILE.fullmatch(text)
    return side_on_paper(named["name"]) if named else targets(text)[0]


async def _side(ctx: Context, what: Any, position: int) -> Side:
    if isinstance(what, Side):
        return what
    async with opened(ctx, what, position=position) as lock:
        return await side_of(lock)


# ---- what people see ------------------------------------------------------------------------------------------------


def screen(result: CompatResult) -> list[Block]:
    """Return the blocks of a comparison."""
    blocks: list[Block] = [Facts([("old", _who(result.old))])]
    single = len(result.compared) == 1
    for item in result.compared:
        blocks += [Line(), *_one(item)] if single or not item.in_stock else []
    shelf = [item for item in result.compared if item.in_stock]
    if not single and shelf:
        blocks += [Line(), _shelf(shelf)]
    if shelf:
        fitting = ", ".join(result.fitting) or "none"
        blocks += [Line(), Line(f"in stock and fitting: {fitting}")]
        if result.below_minimum:
            blocks.append(Line(f"below the minimum: {', '.join(result.below_minimum)}", "bold yellow"))
    return blocks


def _who(unit: Unit) -> str:
    if unit.target.startswith("profile:"):
        return f"{unit.model} (as its profile describes it)"
    return "  ".join(part for part in (unit_name(unit), counts_text(unit.counts)) if part)


def _one(item: Compared) -> list[Block]:
    text, style = _FITS[item.fits]
    shown = [kind for kind in item.kinds if kind.verdict != "nothing there"]
    rows = [(_kind(kind), kind.verdict if kind.sure else f"{kind.verdict} (?)", _why(kind)) for kind in shown]
    stock = [("in stock", _pieces(item))] if item.in_stock else []
    blocks: list[Block] = [Facts([("new", _who(item.unit)), *stock]), Line(text, style), Line()]
    blocks.append(Table(("what", "what becomes of it", "how"), rows))
    if any(not kind.sure for kind in shown):
        blocks += [Line(), Line("(?) is known for certain only when both units are there")]
    return blocks


def _kind(kind: KindFate) -> str:
    name = {"pins": "PINs", "app_keys": "app keys", "lock_schedules": "lock schedules"}.get(kind.kind, kind.kind)
    return f"{kind.held} {name}" if kind.held else name


def _why(kind: KindFate) -> str:
    return f"{kind.sentence} [{', '.join(kind.reasons)}]" if kind.reasons else kind.sentence


def _pieces(item: Compared) -> str:
    label = f", {item.label}" if item.label else ""
    return f"{item.count} (minimum {item.minimum}){', BELOW THE MINIMUM' if item.below_minimum else ''}{label}"


def _shelf(shelf: list[Compared]) -> Table:
    rows = []
    for item in shelf:
        verdicts: dict[str, list[str]] = {}
        for kind in item.kinds:
            if kind.verdict != "nothing there" and kind.kind not in ("log", "settings"):
                verdicts.setdefault(kind.verdict, []).append(_kind(kind))
        how = "; ".join(f"{verdict}: {', '.join(kinds)}" for verdict, kinds in verdicts.items())
        rows.append((item.unit.profile, item.fits, _pieces(item), how))
    return Table(("profile", "fits", "in stock", "how"), rows)
