"""What a simulated Nuki lock is: its generation, its options, its state file.

Section numbers are those of the wire reference of the family. Where it says "unconfirmed", an option chooses.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.nuki_records import U8, U16, U32, Flash
from lockmigrate.sim.unit import FAULT_KINDS, Options

STATE_MARK: Final = "lockmigrate simulated nuki 1"
MIN_MTU: Final = 23
MAX_MTU: Final = 247
MAC_HEAD: Final = "54:D2:72"
"""Section 1.2: seen on all devices."""
HUGE_CODES: Final = 200

OPTIONS: Final[dict[str, str]] = {
    "seed": "another unit with other people",
    "generation": "1 to 5",
    "codes": "how many keypad codes the preset makes",
    "timers": "how many time control entries it makes",
    "authorisations": "how many authorisations it makes, the owner's and ours among them",
    "fingerprints": "how many fingers refer to its codes",
    "log": "how many lines its log has",
    "keypad": "none, 1, 2 or both: which keypads are paired; a fresh lock has none",
    "security_pin": "the security PIN; 0 is none",
    "pairing": "1: in pairing mode from the start, until somebody pairs",
    "pairing_s": "how long pairing mode lasts once the button was held (and, where given, from the start)",
    "nuki_id": "the Nuki ID, 8 hexadecimal digits",
    "uuid": "the id until the next factory reset, 32 hexadecimal digits",
    "name": "the name of the lock",
    "address": "the Bluetooth address",
    "firmware": "the firmware version, such as 3.9.5",
    "utc": "what its clock shows when it is first spoken to, such as 2026-11-25T12:00:00; now is the computer's",
    "clock_off": "so many seconds its clock is ahead (or, with a minus, behind)",
    "max_mtu": "the largest MTU it agrees to",
    "pieces": "20: indications of 20 bytes; whole: of as much as the MTU allows",
    "pace": "milliseconds between two messages",
    "idle_s": "seconds after which it hangs up an idle link; 0 is never",
    "tail": "always: the time-limit tail stands in every entry; limited: only in limited ones",
    "status_after_list": "0: no list but the log ends with a Status; always: the log has none either",
    "status_after_id": "1: a Status follows the id of a new keypad code or time control entry",
    "user_count": "first: the count of authorisations comes with offset 0 alone; always; never",
    "counts": "total: a count is that of the whole list; sent: of what is about to be sent",
    "error_on": "201, 202 or none: where an unknown authorisation is told so",
    "pin_tries": "after so many wrong PINs come too many attempts; 0 is never",
    "lockout_s": "how long that lasts, in seconds",
    "config_bytes": "length of the configuration",
    "advanced_bytes": "length of the advanced configuration",
    "states_bytes": "length of the keyturner states",
    "old": "1: keypad, time control and advanced configuration are unknown commands",
    "user_room": "how many authorisations fit",
    "code_room": "how many keypad codes fit",
    "timer_room": "how many time control entries fit",
    "refuse_ended": "1: a code whose window has ended is refused",
    "weak": "1: codes of equal digits and straight runs are refused",
    "refuse_add": "the code added as this is refused, whatever it is",
    "keeps_wrong": "the code added or updated as this loses its limits",
    "unconfirmed": "keep or drop: what becomes of a user who never confirmed",
    "pairing_error": "secret or clear: how generation 5 says that the PIN is wrong",
    "slow": "changes are accepted at once and complete after so many milliseconds",
    "unasked": "unasked states come before the answer to each so-many-th command",
    "changed": "another client changes something before this command",
    "changing": "and before each so-many-th one",
    "crc0": "1: encrypted answers carry the checksum 0000",
    "bad_crc": "this answer carries a wrong checksum",
    "drop_before": "the link drops instead of this answer, after the command was obeyed",
    "drop_entries": "the link drops after so many entries of lists",
    "double": "this entry comes twice",
    "missing": "this entry does not come",
    "count_off": "counts are so many too large",
    "lost": "1: links that drop do so without a goodbye",
    **dict.fromkeys(FAULT_KINDS, "a fault of the radio, such as out:frame:12 (in: writes, out: indications)"),
}
"""Option to what it does. Answers and entries are counted from 1 over the life of the unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a generation is like: sections 9.5, 9.6, 11 and 13. Firmware numbers are made up."""

    users: int
    codes: int
    device_type: int
    firmware: str
    hardware: bytes
    config_bytes: int
    advanced_bytes: int
    states_bytes: int
    small_pieces: bool = False
    log_count_bytes: int = 5
    log_data_bytes: int = 0
    """Section 9.6: some firmware fills the data of a log entry up; D says so of the third generation."""
    keypad: str = "2"


MODELS: Final = {
    1: Model(
        users=100, codes=100, device_type=0, firmware="1.11.0", hardware=b"\x05\x00", config_bytes=74,
        advanced_bytes=28, states_bytes=15, small_pieces=True, log_count_bytes=4, keypad="1",
    ),
    2: Model(
        users=200, codes=100, device_type=0, firmware="2.15.0", hardware=b"\x08\x03", config_bytes=76,
        advanced_bytes=31, states_bytes=21, small_pieces=True, log_count_bytes=4, keypad="1",
    ),
    3: Model(
        users=200, codes=200, device_type=4, firmware="3.9.5", hardware=b"\x0b\x01", config_bytes=77,
        advanced_bytes=31, states_bytes=21, log_data_bytes=5,
    ),
    4: Model(
        users=200, codes=200, device_type=4, firmware="4.3.7", hardware=b"\x0d\x02", config_bytes=78,
        advanced_bytes=33, states_bytes=27,
    ),
    5: Model(
        users=200, codes=200, device_type=5, firmware="5.4.6", hardware=b"\x10\x01", config_bytes=79,
        advanced_bytes=33, states_bytes=27,
    ),
}  # fmt: skip
"""Generation to model. What is written per generation rests on section 13 where that says something."""
OPENER: Final = Model(
    users=200, codes=200, device_type=2, firmware="1.8.1", hardware=b"\x02\x01", config_bytes=73, advanced_bytes=26,
    states_bytes=19, small_pieces=True, keypad="1",
)  # fmt: skip
"""Section 9.7; it pairs like generations 1 to 4 (D)."""

_VERSION: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{1,2})")
_ADDRESS: Final = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


@dataclass(kw_only=True)
class Settings:
    """What a lock is: never changed by a command."""

    generation: int
    opener: bool
    seed: int
    nuki_id: int
    address: str
    firmware: str
    hardware: bytes
    utc: datetime
    """What its clock shows at first contact; no zone."""
    read_s: float | None
    """When `utc` was read from the computer's clock, on its monotonic one; None where it was given."""
    max_mtu: int
    small_pieces: bool
    pace_s: float
    idle_s: int
    pairing_s: int
    pairing_ends: bool
    """Whether pairing mode from the start lasts `pairing_s` too."""
    tail_always: bool
    status_after_list: str
    status_after_id: bool
    user_count: str
    counts_total: bool
    error_on: str
    pin_tries: int
    lockout_s: int
    config_bytes: int
    advanced_bytes: int
    states_bytes: int
    log_count_bytes: int
    log_data_bytes: int
    old: bool
    user_room: int
    code_room: int
    timer_room: int
    refuse_ended: bool
    weak: bool
    refuse_add: int
    keeps_wrong: int
    drops_unconfirmed: bool
    secret_pairing_error: bool
    slow_s: float
    unasked: int
    changed: int
    changing: int
    crc0: bool
    bad_crc: int
    drop_before: int
    drop_entries: int
    double: int
    missing: int
    count_off: int
    lost: bool

    @property
    def pin_bytes(self) -> int:
        """Section 6, rule 3."""
        return 4 if self.generation == 5 else 2

    @property
    def serial(self) -> str:
        """The Nuki ID as it is printed."""
        return f"{self.nuki_id:08X}"


def settings_of(profile: Profile, preset: str, options: Options) -> Settings:
    """Work out what the lock is: an option, else the profile, else what its generation is like.

    Raises:
        TargetError: an option has an impossible value.
    """
    opener = bool(profile.simulated.get("opener", False))
    generation = options.integer("generation", int(profile.variant.get("generation", 3)), low=1, high=5)
    model = OPENER if opener else MODELS[generation]
    seed = options.integer("seed", 1, low=0, high=2**63)
    nuki_id = _nuki_id(profile, preset, options, seed)
    nth = {name: options.integer(name, 0, low=0, high=10**6) for name in _NTH}
    lowest = 68 if opener else 71
    pieces = options.choice("pieces", "20" if model.small_pieces else "whole", ("20", "whole"))
    return Settings(
        generation=min(generation, 4) if opener else generation,
        opener=opener,
        seed=seed,
        nuki_id=nuki_id,
        address=_address(options, nuki_id),
        firmware=_version(options.text("firmware", model.firmware)),
        hardware=model.hardware,
        utc=_clock(options),
        read_s=time.monotonic() if options.text("utc", "now") == "now" else None,
        max_mtu=options.integer("max_mtu", MAX_MTU, low=MIN_MTU, high=517),
        small_pieces=pieces == "20",
        pace_s=options.integer("pace", 0, low=0, high=60000) / 1000,
        idle_s=options.integer("idle_s", 20, low=0, high=86400),
        pairing_s=options.integer("pairing_s", 30, low=1, high=86400),
        pairing_ends="pairing_s" in options,
        tail_always=options.choice("tail", "limited", ("always", "limited")) == "always",
        status_after_list=options.choice("status_after_list", "1", ("0", "1", "never")),
        status_after_id=options.flag("status_after_id"),
        user_count=options.choice("user_count", "first", ("first", "always", "never")),
        counts_total=options.choice("counts", "total", ("total", "sent")) == "total",
        error_on=options.choice("error_on", "201", ("201", "202", "none")),
        pin_tries=options.integer("pin_tries", 3, low=0, high=1000),
        lockout_s=options.integer("lockout_s", 60, low=1, high=86400),
        config_bytes=options.integer("config_bytes", model.config_bytes, low=lowest, high=73 if opener else 79),
        advanced_bytes=options.integer("advanced_bytes", model.advanced_bytes, low=19, high=26 if opener else 33),
        states_bytes=options.integer("states_bytes", model.states_bytes, low=14, high=27),
        log_count_bytes=model.log_count_bytes,
        log_data_bytes=model.log_data_bytes,
        old=options.flag("old"),
        user_room=options.integer("user_room", model.users, low=0, high=60000),
        code_room=options.integer("code_room", model.codes, low=0, high=60000),
        timer_room=options.integer("timer_room", 100, low=0, high=255),
        refuse_ended=options.flag("refuse_ended"),
        weak=options.flag("weak"),
        drops_unconfirmed=options.choice("unconfirmed", "keep", ("keep", "drop")) == "drop",
        secret_pairing_error=options.choice("pairing_error", "secret", ("secret", "clear")) == "secret",
        slow_s=options.integer("slow", 0, low=0, high=60000) / 1000,
        crc0=options.flag("crc0"),
        lost=options.flag("lost"),
        **nth,
    )


_NTH: Final = (
    "refuse_add", "keeps_wrong", "unasked", "changed", "changing", "bad_crc", "drop_before", "drop_entries", "double",
    "missing", "count_off",
)  # fmt: skip
"""Options that count something; 0 is never."""


def _nuki_id(profile: Profile, preset: str, options: Options, seed: int) -> int:
    """Give every preset and seed an id of its own, below 2^31: the official app fails on others (E)."""
    base = str(profile.simulated.get("nuki_id", "1C0FFEE3"))
    if "nuki_id" in options:
        return int.from_bytes(options.octets("nuki_id", bytes(4)), "big")
    if (preset, seed) == ("full", 1):
        return int(base, 16)
    return zlib.crc32(f"{base} {preset} {seed}".encode()) & 0x7FFFFFFF | 1


def _address(options: Options, nuki_id: int) -> str:
    tail = zlib.crc32(f"address {nuki_id}".encode()).to_bytes(4, "big")
    address = options.text("address", ":".join([MAC_HEAD, *(f"{byte:02X}" for byte in tail[:3])]))
    if not _ADDRESS.fullmatch(address):
        raise TargetError(f'address: "{address}" is not a Bluetooth address', hint="for example 54:D2:72:01:02:03")
    return address.upper()


def _version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise TargetError(f'firmware: "{text}" is not a version', hint="for example 3.9.5")
    return text


def _clock(options: Options) -> datetime:
    """Return what the clock shows now; the lock adds how long it waits for its first contact."""
    text, off = options.text("utc", "now"), options.text("clock_off", "0")
    if not re.fullmatch(r"-?\d{1,9}", off):
        raise TargetError(f'clock_off: "{off}" is not a number of seconds')
    try:
        start = datetime.now(UTC) if text == "now" else datetime.fromisoformat(text)
        if start.tzinfo is not None:
            start = start.astimezone(UTC).replace(tzinfo=None)
        return datetime.fromtimestamp(start.replace(tzinfo=UTC).timestamp() + int(off), UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise TargetError(f'utc: "{text}" is not a date', hint="for example utc=2026-11-25T12:00:00") from None


# ---- the state file --------------------------------------------------------------------------------------------------


class _Kept(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a lock is, whatever the options of the next run say."""

    generation: Annotated[int, msgspec.Meta(ge=1, le=5)]
    opener: bool
    nuki_id: U32
    address: Annotated[str, msgspec.Meta(pattern=f"^{_ADDRESS.pattern}$")]
    firmware: Annotated[str, msgspec.Meta(pattern=f"^{_VERSION.pattern}$")]
    hardware: Annotated[bytes, msgspec.Meta(min_length=2, max_length=2)]
    config_bytes: U8
    advanced_bytes: U8
    states_bytes: U8
    log_count_bytes: U8
    log_data_bytes: U8
    user_room: U16
    code_room: U16
    timer_room: U8


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    mark: Literal["lockmigrate simulated nuki 1"]
    profile: str
    settings: _Kept
    flash: Flash


def load_state(path: Path, profile: Profile, settings: Settings) -> Flash | None:
    """Read a state file into a flash, and what the unit is into `settings`; None where there is no file.

    Raises:
        FileTrouble: it cannot be read.
        TargetError: it is not ours, or another model's.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileTrouble(f"cannot read the state file {path}: {error.strerror or 'it cannot be opened'}") from None
    try:
        state = msgspec.json.decode(content, type=_State)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TargetError(f"{path}: not the state of a simulated nuki unit") from None
    if state.profile != profile.name:
        raise TargetError(
            f'{path}: this is the state of a simulated "{state.profile}"', hint="name another file with --state"
        )
    for name in _Kept.__struct_fields__:
        setattr(settings, name, getattr(state.settings, name))
    return state.flash


def state_of(profile: Profile, settings: Settings, flash: Flash) -> bytes:
    """Return what `load_state` reads."""
    kept = _Kept(**{name: getattr(settings, name) for name in _Kept.__struct_fields__})
    state = _State(mark=STATE_MARK, profile=profile.name, settings=kept, flash=flash)
    plain = msgspec.to_builtins(state, str_keys=True)
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=1) + b"\n"


def image_of(settings: Settings, flash: Flash) -> bytes:
    """Return everything that an owner has put into a lock; not log, clock, counters, and who was active when."""
    whole = msgspec.to_builtins(flash, str_keys=True)
    kept = {name: whole[name] for name in ("codes", "timers", "fingerprints", "config", "advanced", "pin", "users")}
    for record in [*kept["users"].values(), *kept["codes"].values()]:
        del record["last_active"], record["lock_count"]
    kept["logging"] = [flash.logging, flash.door_sensor, flash.door_sensor_logging]
    return msgspec.json.encode(kept, order="sorted")


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a lock like the one a backup came from; see `lockmigrate.sim.stand_in_options`.

    Taken from `facts`: `generation`, `firmware`, `config_bytes`, `advanced_bytes`, `states_bytes`, `user_room`,
    `code_room` and `timer_room`; what is missing is as the generation is.
    """
    names = ("generation", "config_bytes", "advanced_bytes", "states_bytes", "user_room", "code_room", "timer_room")
    told = {name: str(facts[name]) for name in names if str(facts.get(name)).isdecimal()}
    firmware = facts.get("firmware")
    if isinstance(firmware, str) and _VERSION.fullmatch(firmware):
        told["firmware"] = firmware
    return told
