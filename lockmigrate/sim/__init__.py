"""Simulated units: the second witness, written from the wire references alone.

Nothing in this package imports `formats` or `protocols`: what is written twice from the public papers, and agrees, was
probably understood.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import SimulatedUnit, unknown

PRESETS: Final[dict[str, str]] = {
    "full": "every slot holds a template, or a site of 40 people",
    "half": "every second slot or so holds a template, or half of that site",
    "empty": "as from the factory",
    "huge": "1000 slots of 1536 bytes or 1000 people, all in use",
}
"""Preset to what is in such a unit."""
MORE_PRESETS: Final[dict[str, dict[str, str]]] = {
    "nuki": {"fresh": "nobody has paired yet; in pairing mode"},
    "ttlock": {"fresh": "as from the factory, without an administrator"},
}
"""Families with presets of their own: on a wire, factory-new and empty are the same."""

_FAMILIES: Final[dict[str, str]] = {
    "ef01": "lockmigrate.sim.ef01",
    "zk": "lockmigrate.sim.zk",
    "gt511": "lockmigrate.sim.gt511",
    "f5": "lockmigrate.sim.f5",
    "nuki": "lockmigrate.sim.nuki",
    "ttlock": "lockmigrate.sim.ttlock",
}
"""Family to the module that simulates it (it has an `open_unit` of the same form as ours)."""


SIMULATED: Final = frozenset(_FAMILIES)
"""Families that have a simulator; a raw dump has none."""


def presets_of(family: str) -> dict[str, str]:
    """Return the presets that a family has, each with what is in such a unit."""
    return PRESETS | MORE_PRESETS.get(family, {})


def open_unit(
    profile: Profile, preset: str = "full", options: Mapping[str, str] | None = None, *, state: Path | None = None
) -> SimulatedUnit:
    """Make a simulated unit of a profile's model.

    Args:
        profile: The model.
        preset: One of the family's `presets_of`.
        options: What follows the `?` of a `sim://` target.
        state: A file that holds the unit's memory from one run to the next; where it exists, the preset fills nothing.

    Raises:
        TargetError: the family has no simulator, or the preset, an option or the state file is wrong.
        FileTrouble: the state file cannot be read or written.
    """
    if profile.family not in _FAMILIES:
        raise TargetError(f'there is no simulated unit of the family "{profile.family}"')
    presets = presets_of(profile.family)
    if preset not in presets:
        raise unknown("preset", preset, presets)
    family = importlib.import_module(_FAMILIES[profile.family])
    unit: SimulatedUnit = family.open_unit(profile, preset, options or {}, state=state)
    return unit


def stand_in_options(profile: Profile, facts: Mapping[str, object]) -> dict[str, str]:
    """Return the options of a simulated unit that can stand in for a real one when its backup is rehearsed.

    Args:
        profile: The model.
        facts: What the backup knows of the unit: `slots`, `template_size_bytes`, `firmware`, and the family's own
            details by their names.

    Raises:
        TargetError: the family has no simulator.
    """
    if profile.family not in _FAMILIES:
        raise TargetError(f'there is no simulated unit of the family "{profile.family}"')
    options: dict[str, str] = importlib.import_module(_FAMILIES[profile.family]).stand_in_options(facts)
    return options
