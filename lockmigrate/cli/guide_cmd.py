"""`profiles guide NAME`: how to connect a unit of a model, in English and Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lockmigrate.cli.options import Context, common, complete_profiles

if TYPE_CHECKING:
    from lockmigrate.model.report import GuideResult


@click.command("guide", short_help="how to connect a unit of a model")
@click.argument("name", shell_complete=complete_profiles)
@click.option("--lang", type=click.Choice(["en", "zh_CN"]), default="en", show_default=True, help="Its language.")
@common
def profiles_guide(ctx: Context, name: str, lang: str) -> GuideResult:
    """Say how to connect a unit of a model: wiring, voltage, speed, waking, reset, cautions, each with its source.

    What a profile does not say comes from the generic profile of its family, or is not known.

    \b
    Example:
      lockmigrate profiles guide r503 --lang zh_CN
    """
    from lockmigrate.report.guide import guide

    return guide(name, lang)
