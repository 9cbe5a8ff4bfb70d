"""Targets: URLs that name where records can be read or written, and the one switchboard that opens them.

Everything after `scheme://` up to the first `?` is the address, verbatim, with `%XX` decoded; `key=value` pairs follow.
No general URL parser: those lower-case names and take a MAC address for a port.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from lockmigrate.errors import ConfigError, RefusedError, TargetError
from lockmigrate.profiles import Profile, load_profile
from lockmigrate.protocols import Lock

if TYPE_CHECKING:
    from lockmigrate.sim.unit import SimulatedUnit
    from lockmigrate.transports.memory import LinkFaults

SCHEMES: Final = ("serial", "udp", "ble", "sim", "image")
SERIAL_OPTIONS: Final = frozenset({"profile", "baud"})
_LATER: Final = {"udp": "ZK terminals", "ble": "Bluetooth locks", "image": "files and raw dumps"}


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
        if self.scheme == "sim":
            return self.address
        return self.address.replace("\\", "/").rstrip("/").rpartition("/")[2] or self.address


class Ef01Credential(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[ef01]` table of a credential file."""

    password: str | None = None
    address: str | None = None
    unit: str | None = None

    def __repr__(self) -> str:
        return "Ef01Credential(••••••)"


class _CredentialFile(Struct, frozen=True, forbid_unknown_fields=True):
    ef01: Ef01Credential | None = None


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
        if scheme.lower() in _PYSERIAL:
            hint = f"serial ports in the network are written serial://{text}"
        raise TargetError(f'"{scheme}://" is no kind of target', hint=hint)
    if scheme in _LATER:
        raise TargetError(
            f'"{scheme}://" ({_LATER[scheme]}) is not part of this version',
            hint="this version opens serial:// and sim://",
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
    if scheme == "serial":
        _known_options(options, SERIAL_OPTIONS)
        _baud(options.get("baud"))
    return Target(text=text, scheme=scheme, address=address, options=options)


_PYSERIAL: Final = frozenset({"socket", "rfc2217"})
_EXAMPLES: Final = {"serial": "/dev/ttyUSB0", "sim": "r503/full"}


def _guess(text: str) -> str:
    if text.startswith("/dev/") or text.upper().startswith("COM"):
        return f"serial ports are written serial://{text}"
    if text.count("/") == 1 and not text.startswith(("/", ".")):
        return f"simulated units are written sim://{text}"
    return "for example serial:///dev/ttyUSB0, serial://COM3, serial://socket://HOST:PORT or sim://r503/full"


def _known_options(options: dict[str, str], known: frozenset[str]) -> None:
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(known))}"
            raise TargetError(f'a serial target has no parameter "{key}"', hint=hint)


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
    from lockmigrate.protocols.ef01_door import check_variant as check

    check(profile)


def read_credential(path: Path) -> Ef01Credential:
    """Read the `[ef01]` table of a credential file (TOML).

    Raises:
        ConfigError: the file is missing, unreadable, not TOML, or holds something unknown. No value is repeated.
    """
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        table = msgspec.convert(document, _CredentialFile).ef01
    except OSError as error:
        raise ConfigError(
            f"cannot read the credential file {path}: {error.strerror}",
            hint="check the path after --credential-file",
            code="credential-file",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(
            f"the credential file {path} is not TOML",
            hint='values stand in quotes: password = "00000000"',
            code="credential-file",
        ) from None
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the credential file {path}: {str(error).partition(' - ')[0]}",
            hint='it holds a table as [ef01] with password = "00000000" and address = "ffffffff", both hex',
            code="credential-file",
        ) from None
    if table is None:
        raise ConfigError(
            f"the credential file {path} has no table [ef01]",
            hint="tables are named as the family of the unit",
            code="credential-file",
        )
    for name, value in (("password", table.password), ("address", table.address)):
        if value is not None and (len(value) != 8 or not all(digit in "0123456789abcdefABCDEF" for digit in value)):
            raise ConfigError(
                f"the credential file {path}: [ef01] {name} is not four bytes in hex",
                hint="eight digits of 0 to 9 and a to f, in quotes",
                code="credential-file",
            )
    return table


async def open_target(target: Target, access: Access) -> Lock:
    """Open a unit, let ourselves in and recognise it.

    Raises:
        TargetError, ProfileError, ConfigError: what was asked cannot be understood.
        ConnectError: the port cannot be opened, or something unknown is behind it.
        RefusedError, LinkError: the unit refuses or stays silent.
    """
    name = access.profile or target.options.get("profile")
    profile = load_profile(name) if name else None
    credential = read_credential(access.credential_file) if access.credential_file else None
    if target.scheme == "sim":
        return await _open_simulated(target, profile, credential, access)
    from lockmigrate.transports.serial import open_serial

    explicit = _baud(target.options.get("baud"))
    facts = profile.serial if profile else None
    link: Any = await open_serial(target.address, baud=explicit or (facts.baud if facts else 57600))
    return await _open_ef01(link, target, profile, credential, access, explicit_baud=explicit)


async def _open_simulated(
    target: Target, profile: Profile | None, credential: Ef01Credential | None, access: Access
) -> Lock:
    from lockmigrate import sim

    name, _, preset = target.address.partition("/")
    options = dict(target.options)
    options.pop("profile", None)
    state = options.pop("state", None)
    model = load_profile(name)
    unit = sim.open_unit(model, preset or "full", options, state=Path(state) if state else None)
    instant = options.get("pace", "0") in ("0", "")
    return await open_on_unit(unit, target, profile=profile, credential=credential, access=access, instant=instant)


async def open_on_unit(
    unit: SimulatedUnit,
    target: Target,
    *,
    profile: Profile | None = None,
    credential: Ef01Credential | None = None,
    access: Access | None = None,
    instant: bool = True,
    faults: LinkFaults | None = None,
) -> Lock:
    """Open a simulated unit that is at hand, over the same wire bytes as a real one; with its own credential if none.

    Raises:
        ConnectError, RefusedError, LinkError: as for any unit.
    """
    from lockmigrate.transports.memory import MemoryLink

    if credential is None and unit.credential:
        credential = msgspec.convert(unit.credential, Ef01Credential)
    link: Any = MemoryLink.open(unit.device, instant=instant, faults=faults)
    named = profile or (unit.profile if unit.profile.name != unit.profile.family else None)
    return await _open_ef01(link, target, named, credential, access or Access(), explicit_baud=None)


async def _open_ef01(
    link: Any,
    target: Target,
    profile: Profile | None,
    credential: Ef01Credential | None,
    access: Access,
    *,
    explicit_baud: int | None,
) -> Lock:
    from lockmigrate.protocols.ef01_door import Ef01Door, open_module

    try:
        if access.trace is not None:
            from lockmigrate.transports.trace import TraceLink

            link = TraceLink(link, access.trace)
        door = Ef01Door(
            target=target.text,
            port_id=target.port_id,
            simulated=target.simulated,
            profile=profile,
            explicit_baud=explicit_baud,
            address=int(credential.address, 16) if credential and credential.address else None,
            password=bytes.fromhex(credential.password) if credential and credential.password else None,
        )
        lock = await open_module(link, door)
        await _same_unit(lock, credential)
    except BaseException:
        await link.close()
        raise
    return lock


async def _same_unit(lock: Lock, credential: Ef01Credential | None) -> None:
    if credential is None or credential.unit is None:
        return
    unit = await lock.identify()
    if unit.id != credential.unit:
        raise RefusedError(
            f'the credential file is for the unit "{credential.unit}", this one is "{unit.id}"',
            hint="give the file that belongs to this unit",
            code="credential-of-other-unit",
        )
