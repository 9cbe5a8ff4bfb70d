"""`profiles list|show|check`: what is known about models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockmigrate.cli.options import Context, common, complete_profiles

if TYPE_CHECKING:
    from lockmigrate.cli.answers import ProfileResult, ProfileSeen, ProfilesResult
    from lockmigrate.profiles import Profile


@click.command("list", short_help="list the known models")
@common
def profiles_list(ctx: Context) -> ProfilesResult:
    """List the models that are known, shipped ones and those in LOCKMIGRATE_PROFILE_PATH.

    "documented": from public papers; "captured": seen on a wire; "bench": tried by us on a real unit.

    \b
    Example:
      lockmigrate profiles list
    """
    from lockmigrate.cli.answers import ProfilesResult

    seen, broken = known_profiles()
    warnings = tuple(f"profile {name} cannot be used: {error}" for name, error in broken)
    from lockmigrate.cli.answers import BrokenProfile

    return ProfilesResult(
        profiles=tuple(seen),
        broken=tuple(BrokenProfile(name=name, error=error) for name, error in broken),
        warnings=warnings if ctx.common.json else (),
    )


@click.command("show", short_help="show one profile with its sources")
@click.argument("name", shell_complete=complete_profiles)
@common
def profiles_show(ctx: Context, name: str) -> ProfileResult:
    """Show what is known about one model, and where that comes from.

    \b
    Example:
      lockmigrate profiles show r503
    """
    from lockmigrate.profiles import load_profile

    return _result(load_profile(name), None)


@click.command("check", short_help="check a profile file of your own")
@click.argument("file", type=click.Path(path_type=Path))
@common
def profiles_check(ctx: Context, file: Path) -> ProfileResult:
    """Check a profile file: its keys, its types, and that every number names a source.

    \b
    Example:
      lockmigrate profiles check my-model.toml
    """
    from lockmigrate.profiles import read_profile
    from lockmigrate.targets import check_variant

    profile = read_profile(file)
    check_variant(profile)
    return _result(profile, file)


def known_profiles() -> tuple[list[ProfileSeen], list[tuple[str, str]]]:
    """Return the profiles that can be used, and name and error of those that cannot."""
    from lockmigrate.cli.answers import ProfileSeen
    from lockmigrate.errors import ProfileError
    from lockmigrate.profiles import load_profile, profile_names

    seen, broken = [], []
    for name in profile_names():
        try:
            profile = load_profile(name)
        except ProfileError as error:
            broken.append((name, error.message))
        else:
            seen.append(ProfileSeen(name=name, title=profile.title, family=profile.family, evidence=profile.evidence))
    return seen, broken


def _result(profile: Profile, file: Path | None) -> ProfileResult:
    import msgspec

    from lockmigrate.cli.answers import ProfileResult

    schema = "lockmigrate.profile/1" if file is None else "lockmigrate.profile-check/1"
    return ProfileResult(schema=schema, profile=msgspec.to_builtins(profile), file=str(file) if file else None)
