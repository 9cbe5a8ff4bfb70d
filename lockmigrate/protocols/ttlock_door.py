"""Opening a TTLock lock on a connection, and pairing with a fresh one: what the switchboard and the tests call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, ValidationError, convert

from lockmigrate.errors import ConfigError, ProfileError, RefusedError
from lockmigrate.formats.ttlock import (
    DEFAULT_KEY,
    FAMILY,
    FIRMWARE,
    HARDWARE,
    MAKER,
    MODEL,
    NOTIFY,
    OTHER_NOTIFY,
    OTHER_WRITE,
    WRITE,
    Seen,
    parse_advertisement,
)
from lockmigrate.formats.ttlock_records import MAX_CODE, MIN_CODE
from lockmigrate.profiles import Profile
from lockmigrate.protocols.credentials import Credential, TtlockCredential
from lockmigrate.protocols.door import Door, Sight, profiles_of
from lockmigrate.protocols.ttlock import Found, TtlockLock, recognise
from lockmigrate.protocols.ttlock_pair import Paired, pair
from lockmigrate.protocols.ttlock_wire import Wire
from lockmigrate.transports.gatt import Advertised, Connection

DEVICE: Final = (("maker", MAKER), ("model", MODEL), ("hardware", HARDWARE), ("firmware", FIRMWARE))
caution: str | None = (
    "a TTLock lock has one administrator, and this computer becomes it: the owner's app cannot take it over later "
    "without a reset that erases everything. The usual way is that the owner adds the lock in the app, and you import "
    "its keys (keys import-lock)"
)
"""See `PairingDoor.caution`; section 5 of the reference."""
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TTLock profile's `[variant]` may choose."""

    features: str | None = None
    """The feature bits of the model, in hex: by them a lock is recognised."""


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile.

    Raises:
        ProfileError: a key of `[variant]` is unknown or has a value that no lock has.
    """
    try:
        variant = convert(profile.variant, Variant)
    except ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise ProfileError(
            f'the profile "{profile.name}": variant{path.rstrip("`")}: {text[0].lower()}{text[1:]}',
            hint='"lockmigrate profiles show ttlock" shows one that is right',
        ) from None
    if variant.features is not None and not (variant.features and set(variant.features) <= _HEX):
        raise ProfileError(f'the profile "{profile.name}": variant.features is not in hex')


def sight(seen: Advertised) -> Sight | None:
    """Say what an advertisement tells of a TTLock lock (2.3); None if it is none."""
    found = parse_advertisement(seen.manufacturer_data)
    if found is None:
        return None
    return Sight(serial=found.mac, state="factory-fresh" if found.setting_mode else None)


def recognises(link: Connection) -> bool:
    """Say whether a unit is a TTLock lock that we know how to speak to."""
    pairs = ({WRITE, NOTIFY}, {OTHER_WRITE, OTHER_NOTIFY})
    return any(pair <= link.characteristics for pair in pairs) and _seen(link) is not None


async def open_unit(link: Connection, door: Door) -> TtlockLock:
    """Let ourselves in and recognise the lock; see `FamilyDoor.open_unit`.

    Raises:
        ConfigError: no credential, or one without keys.
        RefusedError: code `credential-of-other-unit`, or `not-paired` for a lock without an administrator.
    """
    profiles, generic = profiles_of(FAMILY, door.profile)
    check_variant(door.profile or generic)
    held = _keys(door)
    address = _address(link)
    _same_unit(held, address, door)
    seen = _seen(link)
    if seen is not None and seen.setting_mode and not door.just_paired:
        raise RefusedError(
            f"{door.target} is as from the factory: it has no administrator, and nothing to give out",
            hint="it was reset since, or is new: run pair, or let its owner add it in the app",
            code="not-paired",
        )
    wire = Wire(
        link,
        key=bytes.fromhex(held.aes_key or ""),
        admin_ps=held.admin_ps,
        unlock_key=held.unlock_key,
        lock_flag_pos=held.lock_flag_pos,
        uid=held.uid,
        peer=door.target,
        redial=door.redial,
    )
    try:
        device = await device_information(link)
        await wire.start()
        found = Found(profile=door.profile or generic, device=device, address=address, credential=held, seen=seen)
        lock = TtlockLock(wire, found, target=door.target, simulated=door.simulated)
        await recognise(lock, found, profiles)
    except BaseException:
        await wire.close()
        raise
    return lock


async def pair_unit(link: Connection, door: Door, *, keep: Callable[[Credential], None]) -> TtlockCredential:
    """Become the administrator of a lock as from the factory; see `PairingDoor.pair_unit`.

    Raises:
        ConfigError: the credential holds another lock's keys, or an impossible code (code `credential-file`).
        RefusedError: it has an administrator already (code `not-pairing`), or refuses.
        LinkError: the conversation failed.
    """
    given = door.credential if isinstance(door.credential, TtlockCredential) else TtlockCredential()
    address = _address(link)
    seen = _seen(link)
    if seen is not None and not seen.setting_mode:
        raise RefusedError(
            f"{door.target} has an administrator already",
            hint="import the keys that its app or other tool has (keys import-lock), or reset it at the lock",
            code="not-pairing",
        )
    code = given.admin_passcode
    if code is not None and not (code.isascii() and code.isdigit() and MIN_CODE <= len(code) <= MAX_CODE):
        raise ConfigError(
            "the credential file: [ttlock] admin_passcode is no code for a keypad",
            hint=f"{MIN_CODE} to {MAX_CODE} digits, in quotes; without it the lock or we make one",
            code="credential-file",
        )
    of = given.unit or given.address or ""
    if given.aes_key is not None and of.upper() != address.upper():
        # Those of this very lock are dead since it is as from the factory again, or a pairing broke off.
        raise ConfigError(
            "the credential file holds the keys of another lock already",
            hint="give another file: these keys may be the only way into that lock",
            code="credential-file",
        )
    wire = Wire(link, key=DEFAULT_KEY, admin_ps=None, unlock_key=None, peer=door.target)

    def made(paired: Paired) -> None:
        keep(_credential(paired, address))

    try:
        await wire.start()
        paired = await pair(wire, keep=made, admin_code=given.admin_passcode)
    finally:
        await wire.let_go()
    return _credential(paired, address)


def _credential(paired: Paired, address: str) -> TtlockCredential:
    return TtlockCredential(
        aes_key=paired.aes_key.hex(),
        admin_ps=paired.admin_ps,
        unlock_key=paired.unlock_key,
        admin_passcode=paired.admin_code,
        address=address,
        unit=address,
    )


def with_pin(given: Credential | None, pin: int) -> Credential:
    """Pairing asks for no PIN here; see `PairingDoor.with_pin`."""
    del pin
    return given if given is not None else TtlockCredential()


async def unpair_unit(lock: Any) -> None:
    """Refuse: the administrator is the lock's only one, and to remove it is to reset the lock.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(
        "a TTLock lock has one administrator; to take it away is to reset the lock",
        hint="hand the keys over with keys export-lock, or erase everything with wipe --factory",
        code="no-unpair",
    )


async def device_information(link: Connection) -> dict[str, str]:
    """Read the Device Information service (2.1); what is absent or no text is left out."""
    found = {}
    for name, uuid in DEVICE:
        if uuid in link.characteristics:
            try:
                text = (await link.value(uuid)).rstrip(b"\x00").decode("utf-8")
            except (RefusedError, UnicodeDecodeError):
                continue
            if text and text.isprintable():
                found[name] = text
    return found


def _seen(link: Connection) -> Seen | None:
    return parse_advertisement(link.advertised.manufacturer_data)


def _address(link: Connection) -> str:
    seen = _seen(link)
    return seen.mac if seen is not None else link.advertised.address


def _keys(door: Door) -> TtlockCredential:
    held = door.credential if isinstance(door.credential, TtlockCredential) else None
    if held is None or held.aes_key is None:
        raise ConfigError(
            f"{door.target} opens only to its administrator, and no keys were given",
            hint="keys import-lock FILE makes a credential file of what the owner's app or tool exports; pair is for a "
            "lock as from the factory",
            code="no-credential",
        )
    if held.admin_ps is None or held.unlock_key is None:
        raise ConfigError(
            "the keys that were given open the lock and do not manage it: an eKey has no administrator's part",
            hint="the owner's own export is needed",
            code="no-credential",
        )
    return held


def _same_unit(held: TtlockCredential, address: str, door: Door) -> None:
    """Refuse before a word is said: with another lock's keys nothing can be understood."""
    wanted = held.unit or held.address
    if wanted is not None and wanted.upper() != address.upper():
        raise RefusedError(
            f'the credential file is for the unit "{wanted}", {door.target} is "{address}"',
            hint="give the file that belongs to this unit",
            code="credential-of-other-unit",
        )
