"""The door of each family: the one function that the switchboard and the tests call on an open link."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from lockmigrate.errors import ProfileError
from lockmigrate.profiles import Profile, load_all, load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import Credential
from lockmigrate.transports.gatt import Advertised

DOORS: Final = {
    "ef01": "lockmigrate.protocols.ef01_door",
    "zk": "lockmigrate.protocols.zk_door",
    "gt511": "lockmigrate.protocols.gt511_door",
    "f5": "lockmigrate.protocols.f5_door",
    "image": "lockmigrate.protocols.dump_door",
    "nuki": "lockmigrate.protocols.nuki_door",
    "ttlock": "lockmigrate.protocols.ttlock_door",
}
"""Family to the module that opens its units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What is known before a word was said."""

    target: str
    """As the person wrote it: what messages call the unit."""
    port_id: str
    profile: Profile | None = None
    explicit_baud: int | None = None
    credential: Credential | None = field(default=None, repr=False)
    simulated: bool = False
    redial: Callable[[], Awaitable[Any]] | None = field(default=None, repr=False)
    """Opens another connection to the same unit, where the medium does not last while a person is asked."""
    just_paired: bool = False
    """We were introduced a moment ago: what the unit advertised is older than that."""
    quick: bool = False
    """Only a short question at the family's usual speed: other families wait for their turn."""


class FamilyDoor(Protocol):
    """What a door module offers."""

    def open_unit(self, link: Any, door: Door) -> Awaitable[Lock]:
        """Let ourselves in and recognise the unit; the link stays the caller's to close if this raises.

        Raises:
            NoAnswer: silence.
            ConnectError: reason UNKNOWN_UNIT where something else talks there.
            ProfileError: the named profile contradicts the unit.
            ConfigError: a credential is needed and none was given.
            RefusedError, LinkError: the unit refuses, or the conversation fails.
        """

    def check_variant(self, profile: Profile) -> None:
        """Check what only this family knows of a profile.

        Raises:
            ProfileError: the message names the dotted path.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an advertisement says of a lock."""

    serial: str | None = None
    state: str | None = None
    """`pairing`, `factory-fresh`; None: it does not say."""
    why: str | None = None
    """Why it cannot be used, if so."""


class PairingDoor(FamilyDoor, Protocol):
    """What the door of a family that has to be paired with offers besides."""

    def sight(self, seen: Advertised) -> Sight | None:
        """Say what an advertisement tells, if it is one of this family."""

    caution: str | None
    """What a person should know before this computer is introduced to such a unit; None where nothing is at stake."""

    def recognises(self, link: Any) -> bool:
        """Say, from its characteristics, whether a connected unit is of this family."""

    def pair_unit(self, link: Any, door: Door, *, keep: Callable[[Credential], None]) -> Awaitable[Credential]:
        """Introduce ourselves; returns what opens the unit from now on.

        `keep` is called with it before the unit commits itself, where the family allows that: whoever crashes then can
        still open the unit.

        Raises:
            ConfigError: something is needed that was not given (code `no-security-pin`).
            RefusedError, LinkError: the unit refuses, or the conversation fails.
        """

    def with_pin(self, given: Credential | None, pin: int) -> Credential:
        """Return what was given, with a PIN that a person typed."""

    def unpair_unit(self, lock: Any) -> Awaitable[None]:
        """Remove our own authorisation."""


def pairing_door_of(family: str) -> PairingDoor | None:
    """Return the door of a family that has to be paired with; None for the others.

    Raises:
        ProfileError: nothing is known of the family.
    """
    door = door_of(family)
    return cast("PairingDoor", door) if hasattr(door, "pair_unit") else None


def door_of(family: str) -> FamilyDoor:
    """Return the door of a family.

    Raises:
        ProfileError: nothing is known of it.
    """
    if family not in DOORS:
        raise ProfileError(f'this version has no way to talk to units of the family "{family}"', code="bad-profile")
    return cast("FamilyDoor", importlib.import_module(DOORS[family]))


def profiles_of(family: str, named: Profile | None) -> tuple[list[Profile], Profile]:
    """Return every profile of a family and its generic one, after checking that a named one belongs to it.

    Raises:
        ProfileError: the named profile is of another family, or the installation lacks the generic one.
    """
    if named is not None and named.family != family:
        raise ProfileError(
            f'the profile "{named.name}" is of the family {named.family}, not {family}', code="wrong-profile"
        )
    return load_all(family), load_profile(family)
