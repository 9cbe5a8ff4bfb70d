"""The one switchboard that opens targets: by their scheme, and by the family of what is found behind it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lockmigrate import targets_ble
from lockmigrate.addresses import Target as Target
from lockmigrate.addresses import baud_of
from lockmigrate.addresses import parse_target as parse_target
from lockmigrate.errors import (
    ConnectError,
    ConnectReason,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    Unsupported,
)
from lockmigrate.model.results import Unit
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import CREDENTIALS, Credential, credential_for, read_credentials
from lockmigrate.protocols.door import Door

if TYPE_CHECKING:
    from lockmigrate.sim.unit import SimulatedUnit
    from lockmigrate.transports.gatt import Connection
    from lockmigrate.transports.memory import LinkFaults

ON_A_PORT: Final = ("ef01", "gt511", "f5")
"""Families behind a serial port, in the order in which they are tried: the question of one is noise to the others.

EF01's VfyPwd begins with `EF 01`, GT-511's Open with `55 AA`, the F5 count with `F5`; none holds another's start."""
ON_A_SOCKET: Final = ("ef01", "zk", "gt511", "f5")
ZK_PORT: Final = ":4370"
"""ZK terminals listen there (ZK reference, section 1): on that port they are tried first (decision 27)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a target is to be opened."""

    profile: str | None = None
    credential_file: Path | None = None
    trace: Path | None = None


def check_variant(profile: Profile) -> None:
    """Check what only the profile's family knows of it.

    Raises:
        ProfileError: the message names the dotted path.
    """
    from lockmigrate.protocols.door import door_of

    door_of(profile.family).check_variant(profile)


def read_credential(path: Path, family: str = "ef01") -> Credential:
    """Read one family's table of a credential file (TOML).

    Raises:
        ConfigError: the file is missing, unreadable, not TOML, or holds something unknown. No value is repeated.
    """
    return credential_for(read_credentials(path), path, family)


async def open_target(target: Target, access: Access) -> Lock:
    """Open a unit, let ourselves in and recognise it.

    Raises:
        TargetError, ProfileError, ConfigError: what was asked cannot be understood.
        ConnectError: the port cannot be opened, or something unknown is behind it.
        RefusedError, LinkError: the unit refuses or stays silent.
        ImageError: a file or folder is damaged or of another kind.
    """
    name = access.profile or target.options.get("profile")
    profile = load_profile(name) if name else None
    if target.scheme == "sim":
        return await _open_simulated(target, profile, access)
    if target.scheme == "image":
        return await _open_image(target, profile)
    if target.scheme == "ble":
        dial = targets_ble.radio(target.address, target.options, access.trace)
        return await open_dialled(dial, target, profile, _held(access))
    return await _Caller(target, profile, access).open()


def _held(access: Access) -> dict[str, Credential]:
    """The tables of the credential file, of which the family's own is taken once the family is known."""
    return read_credentials(access.credential_file) if access.credential_file else {}


async def dial_unit(target: Target, access: Access) -> tuple[Connection, str, Door]:
    """Connect to a unit on Bluetooth LE without letting ourselves in: what `pair` needs. Returns its family, too.

    Raises:
        Unsupported: the target is not on Bluetooth.
        TargetError, ConfigError, ConnectError: as `open_target`.
    """
    name = access.profile or target.options.get("profile")
    profile = load_profile(name) if name else None
    held = _held(access)
    simulated: SimulatedUnit | None = None
    if target.scheme == "sim":
        simulated, profile = _simulated(target, profile)
        if simulated.gatt_device is None:
            raise _no_pairing(target)
        dial = targets_ble.memory(simulated, None, access.trace)
    elif target.scheme == "ble":
        dial = targets_ble.radio(target.address, target.options, access.trace)
    else:
        raise _no_pairing(target)
    connection = await dial()
    try:
        family = targets_ble.family_of(connection, profile.family if profile else None, target.text)
        credential = held.get(family)
        if credential is None and simulated is not None and access.credential_file is None:
            credential = msgspec.convert(simulated.credential, CREDENTIALS[family])
    except BaseException:
        await connection.close()
        raise
    return connection, family, _ble_door(target, profile, credential, None)


def _no_pairing(target: Target) -> Unsupported:
    return Unsupported(f"{target.text} needs no pairing", hint="pair is for locks on Bluetooth")


def _ble_door(target: Target, profile: Profile | None, credential: Credential | None, redial: Any) -> Door:
    return Door(
        target=target.text,
        port_id=target.port_id,
        profile=profile,
        credential=credential,
        simulated=target.simulated,
        redial=redial,
    )


async def open_dialled(
    dial: targets_ble.Dial, target: Target, profile: Profile | None, held: dict[str, Credential]
) -> Lock:
    """Dial, recognise the family, and go through its door; `held` is the tables of a credential file.

    Raises:
        ConnectError, ConfigError, RefusedError, LinkError: as `open_target`.
    """
    connection = await dial()
    try:
        family = targets_ble.family_of(connection, profile.family if profile else None, target.text)
        return await _through_the_door(family, connection, _ble_door(target, profile, held.get(family), dial))
    except BaseException:
        await connection.close()
        raise


class _Caller:
    """Opens a port and tries the families that may be behind it, one after the other."""

    def __init__(self, target: Target, profile: Profile | None, access: Access) -> None:
        self._target, self._profile, self._access = target, profile, access
        self._credentials = read_credentials(access.credential_file) if access.credential_file else {}
        self._trouble: LockmigrateError | None = None

    async def open(self) -> Lock:
        families = self._families()
        link: Any = None
        try:
            if self._may_search(families):
                link = await self._dial()
                lock = await self._quickly(families, link)
                if lock is not None:
                    return lock
            for family in families:
                link = link or await self._dial()
                try:
                    return await _through_the_door(family, link, self._door(family))
                except (NoAnswer, LinkLost, ConnectError) as error:
                    self._nobody(error, last=family == families[-1])
                    if isinstance(error, LinkLost):
                        # What another family says may make a unit hang up: the next one is asked on a new call.
                        await link.close()
                        link = None
        except BaseException:
            if link is not None:
                await link.close()
            raise
        raise AssertionError("the last family's trouble was raised")

    def _may_search(self, families: tuple[str, ...]) -> bool:
        """Whether it is a serial port with several families and speeds to try, which takes seconds."""
        return len(families) > 1 and "://" not in self._target.address and "baud" not in self._target.options

    async def _quickly(self, families: tuple[str, ...], link: Any) -> Lock | None:
        """Ask each family's short question at its usual speed, before one of them searches them all."""
        for family in families:
            try:
                return await _through_the_door(family, link, self._door(family, quick=True))
            except NoAnswer:
                continue
            except ConnectError as error:
                if error.reason is not ConnectReason.UNKNOWN_UNIT:
                    raise
        return None

    def _nobody(self, error: LockmigrateError, *, last: bool) -> None:
        """Go on to the next family, unless this was the last one or the trouble is not that of a wrong family."""
        if isinstance(error, ConnectError) and error.reason is not ConnectReason.UNKNOWN_UNIT:
            raise error
        self._trouble = _the_better(self._trouble, error)
        if last:
            raise self._trouble

    def _families(self) -> tuple[str, ...]:
        """The families to try: the named profile's, else those that the place allows and the credential is for."""
        if self._profile is not None:
            return (self._profile.family,)
        address = self._target.address
        if self._target.scheme == "udp":
            order: tuple[str, ...] = ("zk",)
        elif "://" not in address:
            order = ON_A_PORT
        elif address.endswith(ZK_PORT):
            order = ("zk", *(family for family in ON_A_SOCKET if family != "zk"))
        else:
            order = ON_A_SOCKET
        fitting = tuple(family for family in order if family in self._credentials)
        if self._access.credential_file and not fitting:
            credential_for(self._credentials, self._access.credential_file, order[0])
        return fitting or order

    def _door(self, family: str, *, quick: bool = False) -> Door:
        file = self._access.credential_file
        return Door(
            target=self._target.text,
            port_id=self._target.port_id,
            profile=self._profile,
            explicit_baud=baud_of(self._target.options.get("baud")),
            quick=quick,
            credential=credential_for(self._credentials, file, family) if file else None,
        )

    async def _dial(self) -> Any:
        from lockmigrate.transports.trace import TraceLink

        if self._target.scheme == "udp":
            from lockmigrate.transports.udp import open_udp

            link: Any = await open_udp(self._target.address)
        else:
            from lockmigrate.transports.serial import open_serial

            facts = self._profile.serial if self._profile else None
            baud = baud_of(self._target.options.get("baud")) or (facts.baud if facts else 57600)
            link = await open_serial(self._target.address, baud=baud)
        try:
            return TraceLink(link, self._access.trace) if self._access.trace is not None else link
        except BaseException:
            await link.close()
            raise


def _the_better(first: LockmigrateError | None, second: LockmigrateError) -> LockmigrateError:
    """Of two troubles the one that tells more: that something unknown talks, before silence; else the earlier."""
    if first is None or (isinstance(second, ConnectError) and not isinstance(first, ConnectError)):
        return second
    return first


def _simulated(target: Target, profile: Profile | None) -> tuple[SimulatedUnit, Profile | None]:
    """Make the unit that a target names; the profile is the named one, else its own unless that is the generic one."""
    from lockmigrate import sim

    name, _, preset = target.address.partition("/")
    options = dict(target.options)
    options.pop("profile", None)
    state = options.pop("state", None)
    unit = sim.open_unit(load_profile(name), preset or "full", options, state=Path(state) if state else None)
    return unit, profile


async def _open_simulated(target: Target, profile: Profile | None, access: Access) -> Lock:
    unit, profile = _simulated(target, profile)
    file = access.credential_file
    credential = read_credential(file, unit.profile.family) if file else None
    instant = target.options.get("pace", "0") in ("0", "")
    return await open_on_unit(unit, target, profile=profile, credential=credential, access=access, instant=instant)


async def open_on_unit(
    unit: SimulatedUnit,
    target: Target,
    *,
    profile: Profile | None = None,
    credential: Credential | None = None,
    access: Access | None = None,
    instant: bool = True,
    faults: LinkFaults | None = None,
) -> Lock:
    """Open a simulated unit that is at hand, over the same wire bytes as a real one; with its own credential if none.

    Raises:
        ConnectError, RefusedError, LinkError: as for any unit.
    """
    from lockmigrate.transports.memory import MemoryLink
    from lockmigrate.transports.trace import TraceLink

    if credential is None and unit.credential:
        credential = msgspec.convert(unit.credential, CREDENTIALS[unit.profile.family])
    named = profile or (unit.profile if unit.profile.name != unit.profile.family else None)
    if unit.gatt_device is not None:
        dial = targets_ble.memory(unit, faults, access.trace if access else None)
        return await open_dialled(dial, target, named, {unit.profile.family: credential} if credential else {})
    datagrams = unit.device is unit.datagram_device
    link: Any = MemoryLink.open(unit.device, instant=instant, faults=faults, datagrams=datagrams)
    try:
        if access is not None and access.trace is not None:
            link = TraceLink(link, access.trace)
        door = Door(
            target=target.text,
            port_id=target.port_id,
            simulated=target.simulated,
            profile=named,
            credential=credential,
        )
        return await _through_the_door(unit.profile.family, link, door)
    except BaseException:
        await link.close()
        raise


async def _open_image(target: Target, profile: Profile | None) -> Lock:
    """A folder is what a terminal writes to a USB disk; a file is a raw dump."""
    from lockmigrate.protocols.door import door_of

    path = Path(target.address)
    door = Door(target=target.text, port_id=path.name or str(path), profile=profile)
    if os.path.isfile(path):  # noqa: ASYNC240, PTH113 - unlike Path.is_file it raises for no path at all
        return await door_of("image").open_unit(path, door)
    if profile is not None and profile.family == "image":
        raise ConnectError(
            f"{target.text}: there is no such file", reason=ConnectReason.NOT_FOUND, hint="check the path"
        )
    from lockmigrate.protocols.zk_folder import open_folder

    return await open_folder(path, door, encoding=target.options.get("encoding"))


async def _through_the_door(family: str, link: Any, door: Door) -> Lock:
    from lockmigrate.protocols.door import door_of

    lock = await door_of(family).open_unit(link, door)
    wanted = door.credential.unit if door.credential else None
    if wanted is None:
        return lock
    try:
        _same_unit(wanted, await lock.identify())
    except BaseException:
        await lock.close()  # takes leave of the unit, which closing the link alone does not
        raise
    return lock


def _same_unit(wanted: str, unit: Unit) -> None:
    if unit.id != wanted:
        raise RefusedError(
            f'the credential file is for the unit "{wanted}", this one is "{unit.id}"',
            hint="give the file that belongs to this unit",
            code="credential-of-other-unit",
        )
