"""Opening a ZKTeco terminal on a link: the one function that the switchboard and the tests call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError, convert

from lockmigrate.errors import ProfileError
from lockmigrate.formats.zk import TICKS
from lockmigrate.profiles import Profile
from lockmigrate.protocols.credentials import ZkCredential
from lockmigrate.protocols.door import Door, profiles_of
from lockmigrate.protocols.zk import ZkLock
from lockmigrate.protocols.zk_open import let_in, look_around
from lockmigrate.protocols.zk_wire import DEFAULT_FACTS, Wire
from lockmigrate.transports import Link

FAMILY = "zk"


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a ZK profile's `[variant]` may choose; all of it is measured on the unit where it can be."""

    record_bytes: Literal[16, 28, 72] | None = None
    """Width of user records, used while there is no user to measure it by."""
    fp_version: Annotated[int, Meta(ge=1, le=99)] | None = None
    """Generation of templates, where the unit does not answer `~ZKFPVersion`."""
    encoding: Literal["utf-8", "gbk"] | None = None
    """The unit's code page, where names may be read in two ways."""
    attlog_bytes: Literal[8, 16, 40] | None = None
    ticks: Annotated[int, Meta(ge=0, le=255)] = TICKS
    """The free byte of the comm key's scrambling."""


def check_variant(profile: Profile) -> None:
    """Check what only this family knows of a profile.

    Raises:
        ProfileError: a key of `[variant]` is unknown or has a value that no terminal has.
    """
    try:
        convert(profile.variant, Variant)
    except ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        raise ProfileError(
            f'the profile "{profile.name}": variant{path.rstrip("`")}: {text[0].lower()}{text[1:]}',
            hint='"lockmigrate profiles show zk" shows one that is right',
        ) from None


async def open_unit(link: Link, door: Door) -> ZkLock:
    """Let ourselves in and recognise the terminal; see `FamilyDoor.open_unit`."""
    profiles, generic = profiles_of(FAMILY, door.profile)
    check_variant(door.profile or generic)
    variant = convert((door.profile or generic).variant, Variant)
    key = door.credential.comm_key if isinstance(door.credential, ZkCredential) else None
    datagrams = bool(getattr(link, "datagrams", False))
    discard: Callable[[], int] | None = getattr(link, "discard", None)
    if discard is not None:
        discard()  # what an earlier program, or another family's question, has left there
    facts = (door.profile.serial if door.profile else None) or generic.serial or DEFAULT_FACTS
    wire = Wire(link, peer=door.target, facts=facts, datagrams=datagrams)
    keyed = await let_in(wire, key=key, ticks=variant.ticks)
    try:
        found = await look_around(wire, door.profile, profiles, generic)
        check_variant(found.profile)
    except BaseException:
        await wire.leave()
        raise
    return ZkLock(
        wire,
        found,
        target=door.target,
        port_id=door.port_id,
        simulated=door.simulated,
        comm_key=key if keyed else None,
    )
