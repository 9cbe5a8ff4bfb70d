"""Opening a 0xF5 module on a link: the door that the switchboard and the tests call."""

from __future__ import annotations

from typing import Final

from lockmigrate.errors import ConnectError, ConnectReason, FrameError, NoAnswer, ProfileError, UnexpectedReply
from lockmigrate.formats.f5 import DEFAULT_BAUD, LEVEL, LIST
from lockmigrate.formats.f5_tables import FAMILY
from lockmigrate.profiles import Profile, SerialFacts
from lockmigrate.protocols.door import Door, profiles_of
from lockmigrate.protocols.f5 import F5Lock, Found
from lockmigrate.protocols.f5_changes import F5Slots
from lockmigrate.protocols.f5_wire import QUERY, F5Wire
from lockmigrate.protocols.slots_line import TROUBLE, UNKNOWN_HINT, Silent, find_speed, recognise
from lockmigrate.transports import SerialLink

COMMON_BAUDS: Final = (19200, 9600, 38400, 57600, 115200)
"""The usual one, then what a host may have set with command 21; tried after those of the profile."""
DEFAULT_FACTS: Final = SerialFacts(baud=DEFAULT_BAUD, bauds=COMMON_BAUDS)
KIND: Final = "a fingerprint module with 0xF5 frames"


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile; see `FamilyDoor.check_variant`."""
    if profile.variant:
        name = next(iter(profile.variant))
        raise ProfileError(
            f'the profile "{profile.name}": variant.{name}: unknown key',
            hint="a 0xF5 module has no variants: ids and speeds stand in [capabilities] and [serial]",
        )


async def open_unit(link: SerialLink, door: Door) -> F5Lock:
    """Find the speed, make sure that it is a module, and ask its version; see `FamilyDoor.open_unit`."""
    profiles, generic = profiles_of(FAMILY, door.profile)
    if door.profile is not None:
        check_variant(door.profile)
    facts = (door.profile or generic).serial or DEFAULT_FACTS
    wire = F5Wire(link, peer=door.target, facts=facts)
    await find_speed(
        wire, explicit_baud=door.explicit_baud, bauds=(*facts.bauds, *COMMON_BAUDS), kind=KIND, quick=door.quick
    )
    if await _echoes(wire):
        raise ConnectError(
            f"{door.target} gives back what it is sent, and nothing else",
            reason=ConnectReason.UNKNOWN_UNIT,
            hint=f"TX and RX are bridged, or the adapter echoes; or it is {UNKNOWN_HINT}",
        )
    slots = F5Slots(wire)
    version = await slots.version()
    found = Found(profile=generic, version=version)
    found.profile = door.profile or recognise(profiles, firmware=found.firmware, slots=None) or generic
    return F5Lock(wire, slots, found, target=door.target, port_id=door.port_id, simulated=door.simulated)


async def _echoes(wire: F5Wire) -> bool:
    """Tell a module from a line that echoes: to the count, a command is its own good answer, "nobody enrolled".

    A query is answered with 00 where the question has 01; and a list has data behind its head, which an echo has not.
    """
    try:
        reply = await wire.ask(LEVEL, 0, QUERY)
        if (reply.number, reply.result) != (0, QUERY):
            return False
    except Silent:
        raise
    except TROUBLE:
        pass  # a relative that does not know this command
    try:
        await wire.ask(LIST)
    except (FrameError, UnexpectedReply):
        return True
    except Silent:
        raise
    except NoAnswer:
        pass
    return False
