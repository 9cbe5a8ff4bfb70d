"""What people see of `report`, `health` and `profiles guide` on a terminal."""

from __future__ import annotations

from lockmigrate.cli.parts import unit_name
from lockmigrate.cli.tables import Block, Facts, Line
from lockmigrate.cli.words import counted
from lockmigrate.model.report import GuideResult, HealthResult, ReportResult
from lockmigrate.model.results import Result


def screen(result: Result) -> list[Block]:
    """Return the blocks of one of these results.

    Raises:
        TypeError: there is no screen for it.
    """
    if isinstance(result, ReportResult):
        return _report(result)
    if isinstance(result, HealthResult):
        return _health(result)
    if isinstance(result, GuideResult):
        return _guide(result)
    raise TypeError(f"there is no screen for {type(result).__name__}")


def _health(result: HealthResult) -> list[Block]:
    from lockmigrate.report.health import label_of, sentence
    from lockmigrate.report.texts import Texts

    t = Texts("en")
    blocks: list[Block] = []
    for item in result.units:
        blocks += [Line()] if blocks else []
        blocks.append(Line(unit_name(item.unit), "bold"))
        if not item.known:
            blocks.append(
                Line("no serial number: only where it was connected says that these are of one unit", "yellow")
            )
        blocks.append(Line(f"{counted(len(item.made), 'backup')}, {item.made[0]} to {item.made[-1]}"))
        rows = []
        for line in item.lines:
            source = f"  ({line.source})" if line.source else ""
            rows.append((label_of(t, line), f"{'! ' if line.warn else ''}{sentence(t, line)}{source}"))
        blocks.append(Facts(rows, indent=2, style=None))
    if result.page:
        blocks += [Line(), Facts([("page", result.page)])]
    return blocks


def _guide(result: GuideResult) -> list[Block]:
    blocks: list[Block] = [Line(f"{result.title} ({result.profile}, {result.evidence})", "bold"), Line()]
    rows = [
        (result.labels[line.topic], line.text if line.text is not None else result.labels["not-known"])
        for line in result.lines
    ]
    numbers = {name: number for number, name in enumerate(result.sources, start=1)}
    marks = ["".join(f" [{numbers[name]}]" for name in line.sources) for line in result.lines]
    blocks.append(Facts([(label, f"{text}{mark}") for (label, text), mark in zip(rows, marks, strict=True)]))
    if result.sources:
        blocks += [Line(), Line(result.labels["sources"], "bold")]
        blocks.append(Facts([(f"[{numbers[name]}]", title) for name, title in result.sources.items()], style=None))
    return blocks


def _report(result: ReportResult) -> list[Block]:
    rows = [("page", result.page or "none")]
    rows += [("backup", f"{unit_name(part.unit)}  {part.file}") for part in result.backups]
    for move in result.moves:
        said = ", ".join(f"{number} {outcome.replace('_', '-')}" for outcome, number in move.counts.items())
        rows.append((move.what, f"{unit_name(move.source)} → {unit_name(move.unit)}  {said or 'nothing'}"))
    for check in result.checks:
        against = f"{check.equal} of {counted(check.compared, 'record')} equal" if check.target else "the file alone"
        rows.append(("check", f"{unit_name(check.target or check.unit)}  {against}"))
    rows += [("erased", unit_name(part.unit)) for part in result.erasures]
    if result.pins_page:
        rows.append(("new PINs", result.pins_page))
    blocks: list[Block] = [Facts(rows)]
    if result.pins_page:
        blocks += [
            Line(),
            Line("the page of new PINs holds secrets: cut it up, give each person their strip, destroy it"),
        ]
    if result.page:
        blocks += [Line(), Line("people's names are in the page: hand it only to whom it concerns")]
    return blocks
