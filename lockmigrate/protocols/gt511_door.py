"""Opening a GT-511 or GT-521 module on a link: the door that the switchboard and the tests call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lockmigrate.errors import ProfileError
from lockmigrate.formats.gt511 import MAX_IDS, POWER_ON_BAUD, TEMPLATE_BYTES
from lockmigrate.formats.gt511_tables import FAMILY, parse_devinfo
from lockmigrate.profiles import Profile, SerialFacts
from lockmigrate.protocols.door import Door, profiles_of
from lockmigrate.protocols.gt511 import Found, Gt511Lock
from lockmigrate.protocols.gt511_changes import Gt511Slots
from lockmigrate.protocols.gt511_wire import Gt511Wire
from lockmigrate.protocols.slots_line import find_speed, recognise
from lockmigrate.transports import SerialLink

COMMON_BAUDS: Final = (9600, 115200, 57600, 38400, 19200)
"""That of power-on, the one that a host most likely left, the rest of 04's range; tried after those of the profile."""
DEFAULT_FACTS: Final = SerialFacts(baud=POWER_ON_BAUD, bauds=COMMON_BAUDS)


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile; see `FamilyDoor.check_variant`."""
    if profile.variant:
        name = next(iter(profile.variant))
        raise ProfileError(
            f'the profile "{profile.name}": variant.{name}: unknown key',
            hint="a GT-511 has no variants: ids and speeds stand in [capabilities] and [serial]",
        )
    fingerprint = profile.capabilities.credentials.fingerprint
    if fingerprint is not None and fingerprint.template_size_bytes not in (None, TEMPLATE_BYTES):
        raise ProfileError(
            f'the profile "{profile.name}": capabilities.credentials.fingerprint.template_size_bytes: every model on '
            f"record has {TEMPLATE_BYTES}, and the packets do not say how long they are"
        )


async def open_unit(link: SerialLink, door: Door) -> Gt511Lock:
    """Find the speed, open the module, and measure how many ids it has; see `FamilyDoor.open_unit`."""
    profiles, generic = profiles_of(FAMILY, door.profile)
    if door.profile is not None:
        check_variant(door.profile)
    facts = (door.profile or generic).serial or DEFAULT_FACTS
    wire = Gt511Wire(link, peer=door.target, facts=facts, may_change=door.explicit_baud is None)
    await find_speed(
        wire,
        explicit_baud=door.explicit_baud,
        bauds=(*facts.bauds, *COMMON_BAUDS),
        kind="a GT-511 or GT-521 fingerprint module",
        quick=door.quick,
    )
    wire.found()
    info = parse_devinfo(wire.info or b"")
    slots = Gt511Slots(wire)
    named = _stated(door.profile)
    measured = await measure(slots, [number for number in (named, *map(_stated, profiles)) if number])
    fitting = recognise(profiles, firmware=info.firmware, slots=measured)
    warnings = []
    if info.serial is None:
        warnings.append("the module tells a serial number of zeros, which is the mark of an unreliable unit")
    if door.profile is not None and named is not None and measured is not None and measured != named:
        if fitting is not None and fitting.name != door.profile.name:
            raise ProfileError(
                f'the module has {measured} ids like "{fitting.name}", the profile "{door.profile.name}" says {named}',
                hint=f"use --profile {fitting.name}, or leave it out",
                code="wrong-profile",
            )
        warnings.append(f"the module has {measured} ids, its profile says {named}; the module is believed")
    found = Found(
        profile=door.profile or fitting or generic,
        info=info,
        slots=measured or _stated(door.profile or fitting or generic),
        measured=measured is not None,
        warnings=tuple(warnings),
    )
    return Gt511Lock(wire, slots, found, target=door.target, port_id=door.port_id, simulated=door.simulated)


async def measure(slots: Gt511Slots, guesses: Iterable[int]) -> int | None:
    """Find how many ids the module has: CheckEnrolled answers 1003 to the first one beyond, and changes nothing.

    Args:
        slots: the questions.
        guesses: likely numbers, tried first; each costs two questions at most, else sixteen are needed.

    Returns:
        The number; None where the module gives no clear word.

    Raises:
        Silent, LinkLost: the module is gone.
    """
    low, high = 0, MAX_IDS  # ids below `low` are inside, those from `high` on are beyond
    tried = [number for guess in dict.fromkeys(guesses) for number in (guess - 1, guess)]
    while low < high:
        likely = next((number for number in tried if low <= number < high), None)
        number = likely if likely is not None else (low + high) // 2
        inside = await slots.is_inside(number)
        if inside is None:
            return None
        if inside:
            low = number + 1
        else:
            high = number
    # A module that calls no id impossible does not look at the number; one that calls all so has something against us.
    return low if 0 < low < MAX_IDS else None


def _stated(profile: Profile | None) -> int | None:
    fingerprint = profile.capabilities.credentials.fingerprint if profile else None
    return fingerprint.slots if fingerprint else None
