"""Opening a Nuki lock on a connection, and introducing ourselves to one: what the switchboard and the tests call."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace

from lockmigrate.errors import ConfigError, ConnectError, ConnectReason, ProfileError, RefusedError, Unsupported
from lockmigrate.formats.nuki import (
    FAMILY,
    FIRMWARE,
    FRESH_SERVICE,
    HARDWARE,
    OPENER_PAIRING_SERVICE,
    PAIRING_SERVICE,
    PAIRING_SERVICE_5,
    SERIAL,
    Characteristics,
    advertised_id,
    generation_of,
)
from lockmigrate.profiles import Profile
from lockmigrate.protocols.credentials import Credential, NukiCredential
from lockmigrate.protocols.door import Door, Sight, profiles_of
from lockmigrate.protocols.nuki import Found, NukiLock
from lockmigrate.protocols.nuki_pair import pair
from lockmigrate.protocols.nuki_refusals import insist_on_pin
from lockmigrate.protocols.nuki_wire import Wire
from lockmigrate.transports.gatt import Advertised, Connection

NAME: Final = "lockmigrate"
"""How a lock lists us among its users."""
caution: str | None = None
"""Everybody else keeps their access; see `PairingDoor.caution`."""
GENERATIONS: Final = {1: "1-4", 2: "1-4", 3: "1-4", 4: "1-4", 5: "5"}


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a Nuki profile's `[variant]` may choose; how a lock is spoken to is told by its characteristics."""

    generation: Literal[1, 2, 3, 4, 5] | None = None
    opener: bool = False


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile.

    Raises:
        ProfileError: a key of `[variant]` is unknown or has a value that no lock has.
    """
    try:
        convert(profile.variant, Variant)
    except ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise ProfileError(
            f'the profile "{profile.name}": variant{path.rstrip("`")}: {text[0].lower()}{text[1:]}',
            hint='"lockmigrate profiles show nuki" shows one that is right',
        ) from None


def sight(seen: Advertised) -> Sight | None:
    """Say what an advertisement tells of a Nuki lock (1.2); None if it is none.

    Service data may be stale: whether a lock is in pairing mode, its answer proves.
    """
    number, service = advertised_id(seen.manufacturer_data, seen.service_data)
    named = seen.name is not None and seen.name.startswith("Nuki_")
    if number is None and not named:
        return None
    states = {PAIRING_SERVICE: "pairing", PAIRING_SERVICE_5: "pairing", OPENER_PAIRING_SERVICE: "pairing"}
    states |= {FRESH_SERVICE: "factory-fresh"}
    fresh = service == FRESH_SERVICE
    return Sight(
        serial=f"{number:08X}" if number is not None else None,
        state=states.get(service or ""),
        why="it was never set up; its owner sets it up in the maker's app first" if fresh else None,
    )


def recognises(link: Connection) -> bool:
    """Say whether a unit is a Nuki lock that we know how to speak to."""
    return generation_of(link.characteristics) is not None


async def open_unit(link: Connection, door: Door) -> NukiLock:
    """Let ourselves in and recognise the lock; see `FamilyDoor.open_unit`.

    Raises:
        ConfigError: no credential, or one without keys.
        RefusedError: code `credential-of-other-unit`.
        ConnectError: it is no Nuki that we know.
    """
    profiles, generic = profiles_of(FAMILY, door.profile)
    check_variant(door.profile or generic)
    how = _how(link, door)
    held = _keys(door)
    device = await device_information(link)
    _same_unit(held, device.get("serial") or _advertised(link), door)
    wire = Wire(
        link,
        how,
        key=bytes.fromhex(held.shared_key or ""),
        authorization_id=held.authorization_id or 0,
        pin=held.security_pin,
        peer=door.target,
        redial=door.redial,
    )
    try:
        await wire.start()
        found = Found(
            profile=door.profile or generic,
            generation="opener" if how.opener else "5" if how.fifth else "1-4",
            device=device,
            config=b"",
            address=link.advertised.address,
            credential=held,
        )
        lock = NukiLock(wire, found, target=door.target, simulated=door.simulated)
        await lock.recognise(profiles)
    except BaseException:
        await wire.close()
        raise
    if found.profile.variant.get("opener", False) != how.opener and door.profile is not None:
        await wire.close()
        raise ProfileError(f'the profile "{door.profile.name}" does not fit this unit', code="wrong-profile")
    return lock


async def pair_unit(link: Connection, door: Door, *, keep: Callable[[Credential], None]) -> NukiCredential:
    """Introduce ourselves to a lock in pairing mode; returns the credential that opens it from now on.

    `door.credential` holds the PIN, and nothing else that counts. The lock's id and whether it takes the PIN are found
    out afterwards. `keep` is not called: without the lock's last word we are not paired (section 4).

    Raises:
        ConfigError: no PIN was given, or one that this lock cannot have.
        RefusedError, LinkError: see `nuki_pair.pair`.
    """
    del keep
    how = _how(link, door)
    given = door.credential if isinstance(door.credential, NukiCredential) else NukiCredential()
    if given.security_pin is None:
        raise ConfigError(
            "pairing needs the lock's security PIN",
            hint="the owner sees it in the app; put security_pin = 1234 in the table [nuki] of the credential file",
            code="no-security-pin",
        )
    insist_on_pin(given.security_pin, how)
    device = await device_information(link)
    app_id = given.app_id if given.app_id is not None else secrets.randbits(32)
    made = await pair(link, how, peer=door.target, name=NAME, app_id=app_id, pin=given.security_pin)
    return NukiCredential(
        authorization_id=made.authorization_id,
        shared_key=made.key.hex(),
        app_id=made.app_id,
        security_pin=given.security_pin,
        address=link.advertised.address,
        uuid=made.uuid.hex(),
        unit=device.get("serial") or _advertised(link),
    )


def with_pin(given: Credential | None, pin: int) -> NukiCredential:
    """Return what was given, with the security PIN that a person typed."""
    return replace(given, security_pin=pin) if isinstance(given, NukiCredential) else NukiCredential(security_pin=pin)


async def unpair_unit(lock: Any) -> None:
    """Remove our own authorisation from an opened lock.

    Raises:
        Unsupported: the lock is of another family.
        RefusedError, LinkError: from the lock.
    """
    if not isinstance(lock, NukiLock):
        raise Unsupported("this unit knows no pairing")
    await lock.remove_self()


async def device_information(link: Connection) -> dict[str, str]:
    """Read the Device Information service (section 1); what is absent or no text is left out."""
    found = {}
    for name, uuid in (("serial", SERIAL), ("firmware", FIRMWARE), ("hardware", HARDWARE)):
        if uuid in link.characteristics:
            try:
                text = (await link.value(uuid)).rstrip(b"\x00").decode("utf-8")
            except (RefusedError, UnicodeDecodeError):
                continue
            if text and text.isprintable():
                found[name] = text.upper() if name == "serial" else text
    return found


def _how(link: Connection, door: Door) -> Characteristics:
    how = generation_of(link.characteristics)
    if how is None:
        raise ConnectError(
            f"{door.target} is no Nuki lock of a generation that we know",
            reason=ConnectReason.UNKNOWN_UNIT,
            hint="scan shows what is in reach; a newer generation needs a newer lockmigrate",
        )
    return how


def _keys(door: Door) -> NukiCredential:
    held = door.credential if isinstance(door.credential, NukiCredential) else None
    if held is None or held.shared_key is None or held.authorization_id is None:
        raise ConfigError(
            f"{door.target} opens only to whom it knows, and no keys were given",
            hint="run pair once (with the lock in pairing mode), then give the same --credential-file",
            code="no-credential",
        )
    return held


def _advertised(link: Connection) -> str | None:
    number, _ = advertised_id(link.advertised.manufacturer_data, link.advertised.service_data)
    return None if number is None else f"{number:08X}"


def _same_unit(held: NukiCredential, serial: str | None, door: Door) -> None:
    """Refuse before a word is said: a key of another lock gets silence from some."""
    if held.unit is not None and serial is not None and held.unit.upper() != serial.upper():
        raise RefusedError(
            f'the credential file is for the unit "{held.unit}", {door.target} is "{serial}"',
            hint="give the file that belongs to this unit",
            code="credential-of-other-unit",
        )
