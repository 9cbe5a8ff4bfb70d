"""Options that many commands share, and the one object in which a command finds them.

A command function takes a `Context` first, then its own arguments, and returns a `Result` or a coroutine that produces
one. Options stand after the verb. No option takes a secret: those come from files or from a question on the terminal.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

ProgressMode = Literal["auto", "json", "none"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options of every command."""

    json: bool = False
    verbose: int = 0
    config_dir: Path
    progress: ProgressMode = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOptions:
    """Options of commands that talk to a unit."""

    profile: str | None = None
    credential_files: tuple[Path, ...] = ()
    trace: Path | None = None
    label: str | None = None

    def credential_file(self, position: int = 0) -> Path | None:
        """Return the file for the target at `position`: given twice they go in target order, once serves both."""
        if not self.credential_files:
            return None
        return self.credential_files[min(position, len(self.credential_files) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """Options of commands that seal or open a backup."""

    passphrase_file: Path | None = None
    recipients: tuple[str, ...] = ()
    identities: tuple[Path, ...] = ()
    symmetric: bool = False
    backup_passphrase_file: Path | None = None
    key_copy: bool | None = None
    """None: left beside the backup where our own generated passphrase protects it (decision 33)."""

    @property
    def any_given(self) -> bool:
        """Whether any of them was given, the environment included."""
        return self != KeyOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a command function gets as its first argument."""

    common: Common
    unit: UnitOptions
    keys: KeyOptions


_FILE: Final = click.Path(path_type=Path)


def complete_profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Complete names of profiles."""
    from lockmigrate.cli.completion import profiles

    return profiles(incomplete)


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Complete targets: simulated units and serial ports. Nothing is opened."""
    from lockmigrate.cli.completion import targets

    return targets(incomplete)


def complete_backups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Complete backup files and the folders on the way."""
    from lockmigrate.cli.completion import backups

    return backups(incomplete)


def default_config_dir() -> Path:
    """Return the folder of keys and trust of this account."""
    import platformdirs

    return Path(platformdirs.user_config_dir("lockmigrate", appauthor=False))


_COMMON: Final = (
    click.option("--json", "json_", is_flag=True, help="Print one JSON document instead of text."),
    click.option("-v", "--verbose", count=True, help="Say what happens; twice says more."),
    click.option(
        "--config-dir",
        type=_FILE,
        default=None,
        envvar="LOCKMIGRATE_CONFIG_DIR",
        show_envvar=True,
        metavar="DIR",
        help="Where keys and trust are kept.",
    ),
    click.option(
        "--progress",
        type=click.Choice(["auto", "json", "none"]),
        default="auto",
        help="auto: a bar on a terminal; json: lines on stderr.",
    ),
    click.option("--no-progress", is_flag=True, help="The same as --progress none."),
)
_UNIT: Final = (
    click.option("--profile", metavar="NAME", shell_complete=complete_profiles, help="Take the unit for this model."),
    click.option(
        "--credential-file",
        "credential_files",
        type=_FILE,
        multiple=True,
        envvar="LOCKMIGRATE_CREDENTIAL_FILE",
        show_envvar=True,
        metavar="FILE",
        help="What opens the unit (TOML); with two targets twice, in their order.",
    ),
    click.option("--trace", type=_FILE, metavar="FILE", help="Record every byte on the line; FILE then holds secrets."),
    click.option("--label", metavar="TEXT", help="What people call this door."),
)
_OPENING: Final = (
    click.option(
        "--passphrase-file",
        type=_FILE,
        envvar="LOCKMIGRATE_PASSPHRASE_FILE",
        show_envvar=True,
        metavar="FILE",
        help="Unlocks the key files, instead of a question.",
    ),
    click.option(
        "--identity", "identities", type=_FILE, multiple=True, metavar="FILE", help="Also try this key; repeatable."
    ),
    click.option(
        "--backup-passphrase-file",
        type=_FILE,
        metavar="FILE",
        help="The passphrase of a backup's own, instead of a question.",
    ),
)
_SEALING: Final = (
    click.option(
        "--recipient", "recipients", multiple=True, metavar="AGE1…", help="Also seal for this one; repeatable."
    ),
    click.option("--symmetric", is_flag=True, help="Seal under a passphrase of the backup's own."),
    click.option(
        "--key-copy/--no-key-copy",
        default=None,
        help="Leave a copy of the locked key file beside the backup.",
    ),
)
_NAMES: Final = {
    Common: ("json_", "verbose", "config_dir", "progress", "no_progress"),
    UnitOptions: ("profile", "credential_files", "trace", "label"),
    KeyOptions: ("passphrase_file", "recipients", "identities", "symmetric", "backup_passphrase_file", "key_copy"),
}


def unit_options(function: F) -> F:
    """Add the options of `UnitOptions`."""
    return _with(_UNIT, function)


def key_options(function: F) -> F:
    """Add the options of `KeyOptions`, for commands that seal a backup."""
    return _with((*_OPENING, *_SEALING), function)


def opening_options(function: F) -> F:
    """Add those options of `KeyOptions` that open a backup, for commands that seal none."""
    return _with(_OPENING, function)


def common(function: Callable[..., Any]) -> Callable[..., int]:
    """Add the options of `Common`, and run the function as a command: render what it returns, end with its exit code.

    Stands next to the `def`, so that help lists the shared options last. The function gets a `Context` as its
    first argument and the command's own parameters by name.
    """

    @functools.wraps(function)
    def command(**given: Any) -> int:
        from lockmigrate.cli.runner import perform

        taken = {kind: {name: given.pop(name) for name in names if name in given} for kind, names in _NAMES.items()}
        context = Context(
            common=_common_of(taken[Common]),
            unit=UnitOptions(**taken[UnitOptions]),
            keys=KeyOptions(**taken[KeyOptions]),
        )
        return perform(function, context, given)

    return _with(_COMMON, command)


def _with(options: tuple[Callable[[Any], Any], ...], function: F) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def _common_of(given: dict[str, Any]) -> Common:
    return Common(
        json=given["json_"],
        verbose=given["verbose"],
        config_dir=given["config_dir"] or default_config_dir(),
        progress="none" if given["no_progress"] else given["progress"],
    )
