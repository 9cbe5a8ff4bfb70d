"""Targets: URLs that name where records can be read or written, and the one switchboard that opens them.

Everything after `scheme://` up to the first `?` is the address, verbatim, with `%XX` decoded; `key=value` pairs follow.
No general URL parser: those lower-case names and take a MAC address for a port.
"""

from __future__ import annotations

import difflib
import os.path
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec

from lockmigrate.errors import (
    ConnectError,
    ConnectReason,
    LinkLost,
    LockmigrateError,
    NoAnswer,
    RefusedError,
    TargetError,
)
from lockmigrate.model.results import Unit
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.protocols import Lock
from lockmigrate.protocols.credentials import (
    Credential,
    Ef01Credential,
    ZkCredential,
    credential_for,
    read_credentials,
)
from lockmigrate.protocols.door import Door

if TYPE_CHECKING:
    from lockmigrate.sim.unit import SimulatedUnit
    from lockmigrate.transports.memory import LinkFaults

SCHEMES: Final = ("serial", "udp", "ble", "sim", "image")
OPTIONS: Final = {
    "serial": frozenset({"profile", "baud"}),
    "udp": frozenset({"profile"}),
    "image": frozenset({"profile", "encoding"}),
}
"""What may stand behind the `?` of a target; a simulated unit's options are its family's."""
_LATER: Final = {"ble": "Bluetooth locks"}
ON_A_PORT: Final = ("ef01", "gt511", "f5")
"""Families behind a serial port, in the order in which they are tried: the question of one is noise to the others.

EF01's VfyPwd begins with `EF 01`, GT-511's Open with `55 AA`, the F5 count with `F5`; none holds another's start."""
ON_A_SOCKET: Final = ("ef01", "zk", "gt511", "f5")
ZK_PORT: Final = ":4370"
"""ZK terminals listen there (ZK reference, section 1): on that port they are tried first (decision 27)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed target; `text` is what the user wrote."""

    text: str
    scheme: str
    address: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        return self.scheme == "sim"

    @property
    def port_id(self) -> str:
        """What a unit without a serial number is told apart by: the port's last part (decision 35)."""
        if self.scheme in ("sim", "udp"):
            return self.address
        return self.address.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a target is to be opened."""

    profile: str | None = None
    credential_file: Path | None = None
    trace: Path | None = None


def parse_target(text: str) -> Target:
    """Parse a target.

    Raises:
        TargetError: it is none; the hint shows what was probably meant.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        raise TargetError(f'"{text}" is not a target', hint=_guess(text))
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        hint = f'did you mean "{near[0]}://{rest}"?' if near else f"targets begin with {', '.join(SCHEMES)}"
        if scheme.lower() in ("tcp", "zk", "http"):
            hint = f"a terminal on the network is written serial://socket://{rest} or udp://{rest}"
        if scheme.lower() in _PYSERIAL:
            hint = f"serial ports in the network are written serial://{text}"
        raise TargetError(f'"{scheme}://" is no kind of target', hint=hint)
    if scheme in _LATER:
        raise TargetError(
            f'"{scheme}://" ({_LATER[scheme]}) is not part of this version',
            hint="this version opens serial://, udp://, image:// and sim://",
        )
    address, _, query = rest.partition("?")
    address = unquote(address)
    if not address or "\x00" in address:
        raise TargetError(f'"{text}" names no address', hint=f"for example {scheme}://{_EXAMPLES[scheme]}")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise TargetError(f'"{pair}" is not key=value', hint="parameters look like ?profile=r503&baud=57600")
        if key in options:
            raise TargetError(f'the parameter "{key}" is given twice', hint="leave one of them out")
        options[key] = unquote(value)
    if scheme in OPTIONS:
        _known_options(scheme, options)
        _baud(options.get("baud"))
    return Target(text=text, scheme=scheme, address=address, options=options)


_PYSERIAL: Final = frozenset({"socket", "rfc2217"})
_EXAMPLES: Final = {"serial": "/dev/ttyUSB0", "udp": "192.168.1.201:4370", "sim": "r503/full", "image": "usb-stick"}


def _guess(text: str) -> str:
    if text.startswith("/dev/") or text.upper().startswith("COM"):
        return f"serial ports are written serial://{text}"
    if text.replace(".", "").replace(":", "").isdigit() and text.count(".") == 3:
        return f"a terminal on the network is written serial://socket://{text.partition(':')[0]}:4370 or udp://{text}"
    if text.count("/") == 1 and not text.startswith(("/", ".")):
        return f"simulated units are written sim://{text}"
    return "for example serial:///dev/ttyUSB0, serial://COM3, serial://socket://HOST:PORT or sim://r503/full"


def _known_options(scheme: str, options: dict[str, str]) -> None:
    known = OPTIONS[scheme]
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
            raise TargetError(f'a {scheme} target has no parameter "{key}"', hint=hint)


def _baud(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 7 or not 300 <= int(text) <= 4_000_000:
        raise TargetError(f'"{text}" is not a speed in baud', hint="for example baud=57600")
    return int(text)


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
    return await _Caller(target, profile, access).open()


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
            explicit_baud=_baud(self._target.options.get("baud")),
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
            baud = _baud(self._target.options.get("baud")) or (facts.baud if facts else 57600)
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


async def _open_simulated(target: Target, profile: Profile | None, access: Access) -> Lock:
    from lockmigrate import sim

    name, _, preset = target.address.partition("/")
    options = dict(target.options)
    options.pop("profile", None)
    state = options.pop("state", None)
    model = load_profile(name)
    credential = read_credential(access.credential_file, model.family) if access.credential_file else None
    unit = sim.open_unit(model, preset or "full", options, state=Path(state) if state else None)
    instant = options.get("pace", "0") in ("0", "")
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
        credential = msgspec.convert(unit.credential, _CREDENTIALS[unit.profile.family])
    datagrams = unit.device is unit.datagram_device
    link: Any = MemoryLink.open(unit.device, instant=instant, faults=faults, datagrams=datagrams)
    try:
        if access is not None and access.trace is not None:
            link = TraceLink(link, access.trace)
        door = Door(
            target=target.text,
            port_id=target.port_id,
            simulated=target.simulated,
            profile=profile or (unit.profile if unit.profile.name != unit.profile.family else None),
            credential=credential,
        )
        return await _through_the_door(unit.profile.family, link, door)
    except BaseException:
        await link.close()
        raise


_CREDENTIALS: Final[dict[str, type[Credential]]] = {"ef01": Ef01Credential, "zk": ZkCredential}


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
