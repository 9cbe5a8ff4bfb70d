"""Getting into a ZKTeco terminal and telling who it is: session, comm key, state, options, width of its records.

Nothing here changes the unit. The comm key is sent exactly once; a unit whose menu is open, or that enrols somebody, is
left alone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lockmigrate.errors import (
    ConfigError,
    ConnectError,
    ConnectReason,
    FrameError,
    NoAnswer,
    ProfileError,
    RefusedError,
    WrongCredential,
)
from lockmigrate.formats.zk import (
    BUSY_STATES,
    STATES,
    TICKS,
    Capacity,
    Cmd,
    Packet,
    Reply,
    cut_text,
    decode_time,
    parse_capacity,
    reply_text,
    split_option,
)
from lockmigrate.formats.zk_records import USER_BYTES, Width, width_of
from lockmigrate.formats.zk_tables import fp_version, options_of
from lockmigrate.profiles import Profile
from lockmigrate.protocols.zk_bulk import USER_TABLE, open_table
from lockmigrate.protocols.zk_wire import Wire

OPTIONS: Final = (
    "~SerialNumber", "~DeviceName", "~Platform", "~OS", "~OEMVendor", "~ProductTime", "~ZKFPVersion", "~PIN2Width",
    "~IsABCPinEnable", "~RFCardOn", "~IsOnlyRFMachine", "ZKFaceVersion", "FaceFunOn", "FingerFunOn", "MAC", "IPAddress",
    "NetMask", "GATEIPAddress", "DeviceID", "WorkCode", "LockOn", "CompatOldFirmware", "~ExtendFmt", "~UserExtFmt",
)  # fmt: skip
"""What is read at backup (reference, section 5); names that upset some firmware (section 11.8) come last."""
MAX_OPTION_BYTES: Final = 4096
"""Our bound; a value that is longer is no option's."""
NO_ANSWER_HINT: Final = (
    "check address and network cable; terminals listen on port 4370, old ones only on UDP (udp://HOST), and to one "
    "program at a time"
)
KEY_HINT: Final = "give it with --credential-file FILE, a TOML file of mode 0600: [zk] and comm_key = 123456"
BUSY_HINT: Final = "leave the menu of the terminal, wait until it shows the clock, then try again"


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a terminal after it was let in."""

    profile: Profile
    options_raw: bytes
    options: dict[str, str]
    firmware_raw: bytes | None
    capacity_raw: bytes
    width: Width
    width_measured: bool
    """Size of the table and count of users agree on it; else it is inferred from profile or platform."""
    clock_offset_s: int | None = None

    @property
    def capacity(self) -> Capacity:
        """The counters as they were last read."""
        return parse_capacity(self.capacity_raw)

    @property
    def serial(self) -> str | None:
        return self.options.get("~SerialNumber") or None

    @property
    def model(self) -> str | None:
        return self.options.get("~DeviceName") or None

    @property
    def platform(self) -> str | None:
        return self.options.get("~Platform") or None

    @property
    def firmware(self) -> str | None:
        return options_of(b"v=" + self.firmware_raw).get("v") if self.firmware_raw else None

    @property
    def fp_version(self) -> int | None:
        return fp_version(self.options, self.profile.variant)


async def let_in(wire: Wire, *, key: int | None, ticks: int = TICKS) -> bool:
    """Open a session; returns whether the comm key was needed for it.

    Raises:
        NoAnswer: silence.
        ConnectError: something answers that is no terminal.
        ConfigError: a comm key is needed and none was given.
        WrongCredential: the unit does not accept the key; it was sent once.
        RefusedError: the unit refuses for another reason.
    """
    try:
        answer = await wire.connect()
    except NoAnswer as error:
        if wire.heard_bytes:
            raise _stranger(wire) from None
        raise NoAnswer(wire.peer, tries=error.tries, timeout_s=error.timeout_s, hint=NO_ANSWER_HINT) from None
    except FrameError:
        raise _stranger(wire) from None
    if answer.ok:
        wire.let_in = True
        return False
    if answer.code == Cmd.CONNECT:  # our own words come back
        raise _stranger(wire)
    if answer.code != Reply.UNAUTH:
        raise RefusedError(
            f"the terminal refuses a connection: {reply_text(answer.code)}",
            status=answer.code,
            hint="another program may be connected to it; one connection at a time is allowed",
        )
    if not key:
        await wire.leave()
        raise ConfigError("the terminal is protected by a comm key", hint=KEY_HINT, code="no-credential")
    answer = await wire.authorise(key, ticks)
    if not answer.ok:
        await wire.leave()
        raise WrongCredential(
            "the terminal does not accept the comm key in the credential file",
            hint="it was tried once and will not be tried again; the key is the number on the menu under communication",
        )
    wire.let_in = True
    return True


def _stranger(wire: Wire) -> ConnectError:
    return ConnectError(
        f"something answers on {wire.peer}, but nothing that a terminal of this family would say",
        reason=ConnectReason.UNKNOWN_UNIT,
        hint='another device, or another protocol; see "lockmigrate profiles list"',
    )


async def look_around(wire: Wire, profile: Profile | None, profiles: list[Profile], generic: Profile) -> Found:
    """Tell who the unit is, with questions that change nothing.

    Args:
        wire: a wire that was let in.
        profile: the profile that the user named, or None.
        profiles: every profile of the family, for detection.
        generic: used if none fits.

    Raises:
        RefusedError: somebody is using the unit (code unit-busy), or it does not tell its counters.
        ProfileError: the named profile contradicts what the unit says.
        LinkError: the conversation failed.
    """
    await _not_busy(wire)
    version = await wire.ask_optional(Cmd.VERSION)
    raw = await read_options(wire)
    found = Found(
        profile=profile or generic,
        options_raw=raw,
        options=options_of(raw),
        firmware_raw=_version_of(version),
        capacity_raw=await read_capacity(wire),
        width=72,
        width_measured=False,
    )
    detected = detect(found, profiles)
    if profile is None:
        found.profile = detected or generic
    elif detected is not None and detected.name != profile.name and found.model and detected.match.model:
        raise ProfileError(
            f'the terminal says it is a {found.model} (profile "{detected.name}"), not "{profile.name}"',
            hint=f"use --profile {detected.name}, or leave it out",
            code="wrong-profile",
        )
    await _measure_width(wire, found)
    found.clock_offset_s = await _clock_offset(wire)
    return found


def _version_of(answer: Packet) -> bytes | None:
    text = cut_text(answer.data)
    return text if answer.ok and 0 < len(text) <= MAX_OPTION_BYTES else None


async def _not_busy(wire: Wire) -> None:
    answer = await wire.ask_optional(Cmd.STATE)
    if answer.ok and answer.session in BUSY_STATES:
        raise RefusedError(f"the terminal is {STATES[answer.session]}", hint=BUSY_HINT, code="unit-busy")


async def read_options(wire: Wire, names: Iterable[str] = OPTIONS) -> bytes:
    """Read options as lines `name=value`; those that the unit lacks are left out."""
    lines = []
    for name in names:
        answer = await ask_option(wire, name)
        pair = split_option(answer.data) if answer.ok else None
        if pair is not None and pair[0] == name.encode() and len(pair[1]) <= MAX_OPTION_BYTES:
            lines.append(b"%b=%b" % (pair[0], pair[1].replace(b"\n", b" ")))
    return b"\n".join(lines)


async def ask_option(wire: Wire, name: str) -> Packet:
    """Ask for one option; ERROR is normal where the unit lacks it."""
    return await wire.ask_optional(Cmd.OPTION_READ, name.encode() + b"\x00")


async def read_capacity(wire: Wire) -> bytes:
    """Read the table of counters. A unit that gave it before and refuses it now has forgotten our session.

    Raises:
        RefusedError: the unit does not give it.
        LinkLost: it did, and does not any more.
        FrameError: it is shorter than any on record.
    """
    answer = await wire.ask(Cmd.CAPACITY, repeatable=True)
    if not answer.ok:
        if wire.known:
            raise wire.forgotten()
        raise RefusedError(
            f"the terminal does not tell its counters: {reply_text(answer.code)}",
            status=answer.code,
            code="capacity-unknown",
        )
    parse_capacity(answer.data)
    wire.known = True
    return answer.data


def detect(found: Found, profiles: list[Profile]) -> Profile | None:
    """Return the one profile whose every match rule fits; None if none does, or more than one.

    `match.dialect` is a pattern for the platform's name.
    """
    fitting = []
    for profile in profiles:
        rules = profile.match
        checks = []
        if rules.model:
            checks.append(any(fnmatch.fnmatchcase(found.model or "", pattern) for pattern in rules.model))
        if rules.firmware:
            checks.append(any(fnmatch.fnmatchcase(found.firmware or "", pattern) for pattern in rules.firmware))
        if rules.dialect:
            checks.append(fnmatch.fnmatchcase(found.platform or "", rules.dialect))
        if checks and all(checks):
            fitting.append(profile)
    by_name = [profile for profile in fitting if profile.match.model]
    fitting = by_name or fitting
    return fitting[0] if len(fitting) == 1 else None


async def _measure_width(wire: Wire, found: Found) -> None:
    """Measure how long user records are: size of their table divided by their count (reference, section 5)."""
    known = width_of(found.profile.variant.get("record_bytes"))
    # A platform's name ending in _TFT normally means 72 bytes, section 5.
    tft = (found.platform or "_TFT").upper().endswith("_TFT")
    found.width = known or (72 if tft else 28)
    count = found.capacity.users
    if not count:
        return
    async with open_table(wire, USER_TABLE) as reading:
        size = reading.size_bytes - 4
        if reading.refused is not None:
            return
    for width in USER_BYTES:
        if size == count * width:
            found.width, found.width_measured = width, True
            return
    fitting = [width for width in USER_BYTES[:2] if size > 0 and size % width == 0]
    if len(fitting) == 1 and found.width not in fitting:
        found.width = fitting[0]


async def _clock_offset(wire: Wire) -> int | None:
    """Return how far the unit's clock is ahead of ours in seconds; None where it does not tell, or tells no date."""
    answer = await wire.ask_optional(Cmd.TIME_READ)
    if not answer.ok or len(answer.data) < 4:
        return None
    text = decode_time(int.from_bytes(answer.data[:4], "little")).text()
    if text is None:
        return None
    here = datetime.now(UTC).astimezone().replace(tzinfo=None, microsecond=0)
    return round((datetime.fromisoformat(text) - here).total_seconds())
