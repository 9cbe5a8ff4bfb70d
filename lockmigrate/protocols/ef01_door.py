"""Opening a 0xEF01 module on a link: the one function the switchboard and the tests call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError, convert

from lockmigrate.errors import ConfigError, ProfileError
from lockmigrate.formats.ef01 import FACTORY_ADDRESS
from lockmigrate.profiles import Profile, load_all
from lockmigrate.protocols.credentials import Ef01Credential
from lockmigrate.protocols.door import Door
from lockmigrate.protocols.ef01 import Ef01Lock
from lockmigrate.protocols.ef01_open import DEFAULT_FACTS, find_speed, look_around
from lockmigrate.protocols.ef01_wire import Wire
from lockmigrate.transports import SerialLink

FAMILY = "ef01"


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an EF01 profile's `[variant]` may choose."""

    dialect: Literal["classic", "hilink"] | None = None
    extended: Literal["none", "r50x"] = "none"
    packet_bytes: Literal[32, 64, 128, 256] | None = None
    system_id: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    buffers: Annotated[int, Meta(ge=1, le=16)] | None = None
    notepad_pages: Annotated[int, Meta(ge=0, le=255)] = 16
    score_level: Annotated[int, Meta(ge=1, le=28)] | None = None
    enrol_times: Annotated[int, Meta(ge=1, le=12)] | None = None
    encryption_level: Annotated[int, Meta(ge=0, le=255)] | None = None


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile.

    Raises:
        ProfileError: a key of `[variant]` is unknown or has a value that no module has.
    """
    try:
        convert(profile.variant, Variant)
    except ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise ProfileError(
            f'the profile "{profile.name}": variant{path.rstrip("`")}: {text[0].lower()}{text[1:]}',
            hint='"lockmigrate profiles show r503" shows one that is right',
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ef01Door:
    """What is known before a word was said."""

    target: str
    port_id: str
    profile: Profile | None = None
    explicit_baud: int | None = None
    address: int | None = None
    password: bytes | None = field(default=None, repr=False)
    simulated: bool = False
    quick: bool = False


async def open_unit(link: SerialLink, door: Door) -> Ef01Lock:
    """Open a module; see `FamilyDoor.open_unit`."""
    given = door.credential if isinstance(door.credential, Ef01Credential) else Ef01Credential()
    return await open_module(
        link,
        Ef01Door(
            target=door.target,
            port_id=door.port_id,
            simulated=door.simulated,
            quick=door.quick,
            profile=door.profile,
            explicit_baud=door.explicit_baud,
            address=int(given.address, 16) if given.address else None,
            password=bytes.fromhex(given.password) if given.password else None,
        ),
    )


async def open_module(link: SerialLink, door: Ef01Door) -> Ef01Lock:
    """Find the speed, give the password, tell the dialect and the model.

    Raises:
        ProfileError: the named profile is of another family or contradicts the module.
        ConfigError: password or address is not four bytes; and see `find_speed`, also for ConnectError, NoAnswer and
            WrongCredential.
        LinkError: the conversation failed.
    """
    if door.profile is not None and door.profile.family != FAMILY:
        raise ProfileError(
            f'the profile "{door.profile.name}" is of the family {door.profile.family}, not {FAMILY}',
            code="wrong-profile",
        )
    if door.password is not None and len(door.password) != 4:
        raise ConfigError("the password of a module is four bytes", code="credential-file")
    if door.address is not None and not 0 <= door.address <= FACTORY_ADDRESS:
        raise ConfigError("the address of a module is four bytes", code="credential-file")
    if door.profile is not None:
        check_variant(door.profile)
    profiles = load_all(FAMILY)
    generic = next((item for item in profiles if item.name == FAMILY), None)
    if generic is None:
        raise ProfileError(f'the generic profile "{FAMILY}" is missing', hint="the installation is incomplete")
    facts = (door.profile.serial if door.profile else generic.serial) or DEFAULT_FACTS
    wire = Wire(
        link,
        peer=door.target,
        facts=facts,
        address=FACTORY_ADDRESS if door.address is None else door.address,
        password=door.password or bytes(4),
    )
    await find_speed(
        wire,
        explicit_baud=door.explicit_baud,
        bauds=facts.bauds,
        has_credential=door.password is not None,
        quick=door.quick,
    )
    found = await look_around(wire, door.profile, profiles, generic)
    lock = Ef01Lock(wire, found, target=door.target, port_id=door.port_id, simulated=door.simulated)
    if door.password is not None and any(door.password):
        lock.sent_password = door.password
    return lock
