"""The state file of a simulated TTLock lock, its image, and how to make one that stands in for a real one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.ttlock_records import U8, U16, Flash
from lockmigrate.sim.ttlock_settings import MAC, USUAL_ROOM, Settings

STATE_MARK: Final = "lockmigrate simulated ttlock 1"
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern="^[ -~]+$")]


class _Kept(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a lock is, whatever the options of the next run say."""

    mac: Annotated[str, msgspec.Meta(pattern=f"^{MAC.pattern}$")]
    features: str
    model: _Text
    hardware: _Text
    firmware: _Text
    passcode_room: U16
    card_room: U16
    finger_room: U16
    passage_room: U8
    auto_lock_min: U16
    auto_lock_max: U16
    min_code: U8
    max_code: U8


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    mark: Literal["lockmigrate simulated ttlock 1"]
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
        features = int(state.settings.features, 16)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TargetError(f"{path}: not the state of a simulated ttlock unit") from None
    if state.profile != profile.name:
        raise TargetError(
            f'{path}: this is the state of a simulated "{state.profile}"', hint="name another file with --state"
        )
    for name in _Kept.__struct_fields__:
        setattr(settings, name, getattr(state.settings, name))
    settings.features = features
    return state.flash


def state_of(profile: Profile, settings: Settings, flash: Flash) -> bytes:
    """Return what `load_state` reads."""
    told: dict[str, Any] = {name: getattr(settings, name) for name in _Kept.__struct_fields__}
    kept = _Kept(**told | {"features": f"{settings.features:x}"})
    state = _State(mark=STATE_MARK, profile=profile.name, settings=kept, flash=flash)
    plain = msgspec.to_builtins(state, str_keys=True)
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=1) + b"\n"


def image_of(flash: Flash) -> bytes:
    """Return everything that an owner has put into a lock, wherever it lies; not log, clock and bolt."""
    whole = msgspec.to_builtins(flash, str_keys=True)
    names = ("aes_key", "admin_ps", "unlock_key", "lock_flag_pos", "admin_passcode", "settings", "seeds", "seeds_reset")
    kept: dict[str, Any] = {name: whole[name] for name in names}
    for name in ("passcodes", "cards", "fingers", "passage"):
        kept[name] = sorted(whole[name].values(), key=repr)
    kept["weekly_limits"] = sorted(whole["weekly_limits"], key=repr)
    return msgspec.json.encode(kept, order="sorted")


def stand_in_options(facts: Mapping[str, object]) -> dict[str, str]:
    """Return options for a lock like the one a backup came from; see `lockmigrate.sim.stand_in_options`.

    Taken from `facts`: `features` (a number, or its hexadecimal digits), `firmware`, `hardware`, `model`, the limits of
    auto-lock (`auto_lock_min`, `auto_lock_max`) and the four rooms; what is missing is as usual.
    """
    numbers = ("auto_lock_min", "auto_lock_max", *USUAL_ROOM)
    told = {name: str(facts[name]) for name in numbers if str(facts.get(name)).isdecimal()}
    features = facts.get("features")
    if isinstance(features, int):
        features = f"{features:x}"
    if isinstance(features, str) and re.fullmatch(r"(0x)?[0-9a-fA-F]{1,32}", features):
        told["features"] = features.removeprefix("0x")
    for name in ("firmware", "hardware", "model"):
        text = facts.get(name)
        if isinstance(text, str) and 0 < len(text) <= 32 and text.isascii() and text.isprintable():
            told[name] = text
    return told
