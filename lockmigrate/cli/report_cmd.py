"""`report FILE…` and `health FILE…`: what a customer reads, and how a unit does over its backups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from msgspec.structs import replace

from lockmigrate.cli.options import Context, common, complete_backups, opening_options
from lockmigrate.cli.session import load_answers, ring_for, with_answers
from lockmigrate.formats.files import check_out, write_whole
from lockmigrate.model.report import HealthResult, NewPin, ReportResult
from lockmigrate.operations.health import judge
from lockmigrate.operations.keyring import Keyring
from lockmigrate.operations.new_pins import new_pins as told_again
from lockmigrate.operations.opening import Opened, open_file
from lockmigrate.operations.report import gather, is_saved_result, read_saved
from lockmigrate.planning.policy import Policy
from lockmigrate.report.texts import LANGUAGES

_FILES = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), shell_complete=complete_backups
)
_OUT = click.option("-o", "out", type=click.Path(path_type=Path), metavar="OUT.html", help="The page.")
_FORCE = click.option("--force", is_flag=True, help="Replace OUT.html if it exists.")
_LANG = click.option(
    "--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="The language of the page."
)
_TRUST_ONCE = click.option(
    "--trust-once", multiple=True, metavar="SHA256:…", help="Trust this signer for this run; typed in full."
)


@click.command()
@_FILES
@_OUT
@click.option(
    "--new-pins",
    type=click.Path(path_type=Path),
    metavar="PINS.html",
    help="A page of its own with the new PINs, to be cut up and destroyed.",
)
@click.option(
    "--decisions", type=click.Path(path_type=Path), metavar="FILE", help="With --new-pins: the answers that held PINs."
)
@_LANG
@_FORCE
@_TRUST_ONCE
@opening_options
@common
async def report(
    ctx: Context,
    files: tuple[Path, ...],
    out: Path | None,
    new_pins: Path | None,
    decisions: Path | None,
    lang: str,
    force: bool,
    trust_once: tuple[str, ...],
) -> ReportResult:
    """Write the paper for the customer: units, what moved at which proof, who must come, what was lost.

    FILES are backups, and what plan, restore, migrate, verify and wipe printed with --json. Names come from the
    backups. The page needs no network and holds no PIN, card number, template or key; people's names are in it. New
    PINs are told on a page of their own, --new-pins.

    \b
    Example:
      lockmigrate restore old.age serial:///dev/ttyUSB0 --json > restored.json
      lockmigrate report old.age restored.json -o report.html --lang zh_CN
    """
    if out is None and new_pins is None and not ctx.common.json:
        raise click.UsageError("-o OUT.html is missing; --json prints the contents without a page")
    answers = load_answers(decisions)
    check_out(out, force=force)
    check_out(new_pins, force=force, beside=out)
    saved = [read_saved(path) for path in files if is_saved_result(path)]
    opened = await open_all(ctx, [path for path in files if not is_saved_result(path)], trust_once)
    result = gather(opened, saved)
    pins: list[NewPin] = []
    if new_pins is not None:
        policy = Policy(decisions=answers.decisions)
        if answers.sealed is not None:
            policy = await with_answers(policy, answers, ring_for(ctx, file=answers.path))
        pins = told_again(result, opened, policy.decisions)
    if out is not None:
        from lockmigrate.report.page import render

        result = replace(result, page=str(out))
        write_whole(out, render(result, lang).encode("utf-8", "replace"), replace=force)
    if new_pins is not None:
        if not pins:
            return replace(
                result,
                warnings=(
                    *result.warnings,
                    "no new PIN was proven in the results that were named: no page",
                ),
            )
        from lockmigrate.report.page import render_pins

        result = replace(result, pins_page=str(new_pins))
        write_whole(new_pins, render_pins(pins, result, lang).encode("utf-8", "replace"), replace=force)
    return result


async def open_all(ctx: Context, files: Sequence[Path], trust_once: tuple[str, ...]) -> list[Opened]:
    """Open several backups; keys are asked for once."""
    ring: Keyring | None = None
    opened = []
    for path in files:
        if ring is None:
            ring = ring_for(ctx, file=path, trust_once=trust_once)
        opened.append(await open_file(path, ring))
    return opened


@click.command()
@_FILES
@_OUT
@_LANG
@_FORCE
@_TRUST_ONCE
@opening_options
@common
async def health(
    ctx: Context,
    files: tuple[Path, ...],
    out: Path | None,
    lang: str,
    force: bool,
    trust_once: tuple[str, ...],
) -> HealthResult:
    """Say how units do over their backups: battery, motor errors, failed attempts, clock, memory, changes.

    Backups of one unit are put in the order of their time. Each line names the field that it was taken from; what no
    field says has no basis. With -o also a page with charts.

    \b
    Example:
      lockmigrate health spring.age summer.age autumn.age -o health.html
    """
    check_out(out, force=force)
    result = judge(await open_all(ctx, files, trust_once))
    if out is not None:
        from lockmigrate.report.health import render_health

        result = replace(result, page=str(out))
        write_whole(out, render_health(result, lang).encode("utf-8", "replace"), replace=force)
    return result
