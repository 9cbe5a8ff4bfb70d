"""Shell completion: click's own scripts, and what can be completed. Nothing is opened, no unit is asked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

BREAKS = ":="
"""bash cuts words at these (COMP_WORDBREAKS), and targets have a colon."""


class TargetBashComplete(BashComplete):
    """bash's completion with targets put together again: `sim`, `:`, `//r5` were one word."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor and the one under it."""
        words = os.environ.get("COMP_WORDS", "").split()
        at = int(os.environ.get("COMP_CWORD", "0"))
        joined: list[str] = []
        glue = False
        for word in words[1 : at + 1]:
            breaking = bool(word) and all(char in BREAKS for char in word)
            if joined and (breaking or glue):
                joined[-1] += word
            else:
                joined.append(word)
            glue = breaking
        # Nothing under the cursor yet: the shell counts one word more than it lists.
        incomplete = joined.pop() if at < len(words) and joined else ""
        self._cut = max(incomplete.rfind(char) for char in BREAKS) + 1
        return joined, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return the part behind the last break: that is all that bash replaces."""
        value = str(item.value)[self._cut :] if item.type == "plain" else item.value
        return f"{item.type},{value}"


def answer_shell() -> int:
    """Answer the shell's request in the environment; return the exit code."""
    from lockmigrate.cli import COMPLETE_VARIABLE, PROGRAM, cli

    add_completion_class(TargetBashComplete)
    shell, _, instruction = os.environ.get(COMPLETE_VARIABLE, "").partition("_")
    kind = get_completion_class(shell)
    if kind is None:
        return 1
    complete = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE)
    click.echo(complete.source() if instruction == "source" else complete.complete())
    return 0


@click.command("completion", short_help="print a completion script")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell. It completes commands, options, models, targets and backups.

    For good: bash reads ~/.local/share/bash-completion/completions/lockmigrate, zsh a file _lockmigrate in its $fpath,
    fish ~/.config/fish/completions/lockmigrate.fish.

    \b
    Examples:
      lockmigrate completion bash > ~/.lockmigrate.bash
      source <(lockmigrate completion bash)
    """
    from lockmigrate.cli import COMPLETE_VARIABLE, PROGRAM, cli
    from lockmigrate.cli.render import write_out

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    complete = kind(cli, {}, PROGRAM, COMPLETE_VARIABLE)
    # Not `source()`: for bash that starts a bash to look at its version.
    write_out(complete.source_template % complete.source_vars())


def profiles(incomplete: str) -> list[CompletionItem[str]]:
    """Return names of profiles."""
    from lockmigrate.profiles import profile_names

    return [CompletionItem(name) for name in profile_names() if name.startswith(incomplete)]


def targets(incomplete: str) -> list[CompletionItem[str]]:
    """Return simulated units and the serial ports of this computer."""
    from lockmigrate.cli.scan_cmd import target_of
    from lockmigrate.transports.ports import list_serial_ports

    found = [f"sim://{pair}" for pair in _simulated_pairs()]
    if not incomplete.startswith("sim:"):
        found += [target_of(port.device) for port in list_serial_ports()]
    return [CompletionItem(target) for target in found if target.startswith(incomplete)]


def simulated(incomplete: str) -> list[CompletionItem[str]]:
    """Return PROFILE/PRESET pairs."""
    return [CompletionItem(pair) for pair in _simulated_pairs() if pair.startswith(incomplete)]


def _simulated_pairs() -> list[str]:
    from lockmigrate.errors import LockmigrateError
    from lockmigrate.profiles import load_profile, profile_names
    from lockmigrate.sim import SIMULATED, presets_of

    found = []
    for name in profile_names():
        with contextlib.suppress(LockmigrateError):
            family = load_profile(name).family
            found += [f"{name}/{preset}" for preset in presets_of(family) if family in SIMULATED]
    return found


def backups(incomplete: str) -> list[CompletionItem[str]]:
    """Return backup files, and folders with a slash to go on with."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith(("/", os.sep)) or not incomplete else typed.parent
    start = "" if folder == typed else typed.name
    found = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(start) and (not path.name.startswith(".") or start.startswith(".")):
                shown = path.name if str(folder) == "." and not incomplete.startswith("./") else str(folder / path.name)
                if path.is_dir():
                    found.append(CompletionItem(f"{shown}{os.sep}"))
                elif path.suffix == ".age":
                    found.append(CompletionItem(shown))
    except OSError:
        return []
    return found
