"""What a preset puts into a simulated Nuki lock: made-up people, codes, timers, settings and a log.

Everything is drawn from a seeded generator and describes nobody. Section numbers are those of the wire reference of the
family.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from random import Random
from typing import Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.nuki_records import (
    NO_DATE,
    Advanced,
    Config,
    Fingerprint,
    Flash,
    KeypadCode,
    LogEntry,
    Timer,
    User,
    encode_date,
    limits_of,
)
from lockmigrate.sim.nuki_settings import HUGE_CODES, MODELS, OPENER, Settings
from lockmigrate.sim.unit import Options

TODAY: Final = datetime(2026, 11, 25, 12, 0)  # noqa: DTZ001 - the wire names no zone
"""When the presets were filled, whatever the lock's clock shows."""
AMOUNTS: Final = {
    "full": {"codes": 100, "timers": 10, "authorisations": 20, "fingerprints": 5, "log": 60},
    "half": {"codes": 50, "timers": 5, "authorisations": 10, "fingerprints": 2, "log": 30},
    "empty": {"codes": 0, "timers": 0, "authorisations": 2, "fingerprints": 0, "log": 3},
    "fresh": {"codes": 0, "timers": 0, "authorisations": 0, "fingerprints": 0, "log": 0},
    "huge": {"codes": HUGE_CODES, "timers": 20, "authorisations": 40, "fingerprints": 20, "log": 200},
}
"""Preset to how much it makes."""
CODE_NAMES: Final = (
    "Anna", "Reinigung Mo+Do", "Александра", "张伟的备用密01", "Feuerwehr", "Gäste Süd-Wohnung", "Жильцы 3/4", "",
    "Nachbarin O'Neil", "Handwerker 3. Stock", "李娜", "Zoë", "20 bytes of a name..", "Ключ",
)  # fmt: skip
"""Up to 20 bytes of UTF-8."""
USER_NAMES: Final = (
    "Anna (iPhone)", "Büro-Tablet", "Мария (телефон)", "王芳的手机", "Hausverwaltung Süd 32 Byte lang", "Fob grün",
    "Gast", "Pflegedienst", "Oma", "Zoë's Watch",
)  # fmt: skip
"""Up to 32 bytes of UTF-8."""
OWN_NAME: Final = b"lockmigrate"
APP, BRIDGE, FOB, KEYPAD = 0, 1, 2, 3
RUBBISH: Final = b"\0\xc3\x28\x9f\x11"
"""Section 9.6: what a Keypad 2 leaves behind a name."""
SITE_PINS: Final = 4711, 471123
"""Security PIN of a lock that somebody uses: four digits, and six from generation 5 on."""


def flash_of(profile: Profile, preset: str, options: Options, settings: Settings) -> Flash:
    """Fill a lock as its preset and options want it.

    Raises:
        TargetError: an option has an impossible value, or more is asked for than fits.
    """
    drawn = Random(f"nuki flash {settings.seed} {settings.serial}")
    uuid, private_key = drawn.randbytes(16), drawn.randbytes(32)
    flash = factory_flash(settings, options.octets("uuid", uuid), private_key)
    fresh = preset == "fresh"
    six = settings.generation == 5
    usual = SITE_PINS[six] if six or not fresh else 0
    flash.pin = options.integer("security_pin", usual, low=0, high=999_999 if six else 9999)
    keypad = options.choice("keypad", "none" if fresh else _keypad(settings), ("none", "1", "2", "both"))
    flash.config.has_keypad, flash.config.has_keypad_2 = int(keypad in ("1", "both")), int(keypad in ("2", "both"))
    if preset in ("full", "half", "huge"):
        _arranged(flash, settings, half=preset == "half")
    flash.config.name = _name(options, flash.config.name)
    if options.flag("pairing", default=fresh):
        flash.config.pairing_enabled = 1
    amounts = _amounts(preset, options, settings, keypad)
    _users(flash, drawn, amounts["authorisations"])
    _codes(flash, drawn, amounts["codes"])
    _timers(flash, amounts["timers"], opener=settings.opener)
    _fingerprints(flash, drawn, amounts["fingerprints"])
    _log(flash, amounts["log"], opener=settings.opener)
    rooms = (
        ("codes", settings.code_room),
        ("timers", settings.timer_room),
        ("authorisations", settings.user_room),
    )
    for name, room in rooms:
        if amounts[name] > room:
            raise TargetError(f"{name}: only {room} fit into this lock")
    return flash


def factory_flash(settings: Settings, uuid: bytes, private_key: bytes) -> Flash:
    """Return the memory of a lock as it leaves the factory, or after its reset."""
    opener = settings.opener
    model = OPENER if opener else MODELS[settings.generation]
    name = f"Nuki_{'Opener_' if opener else ''}{settings.serial}".encode()
    advanced = Advanced(intercom=bytes(range(1, 22))) if opener else Advanced(total_degrees=0)
    return Flash(
        uuid=uuid,
        private_key=private_key,
        config=Config(name=name, device_type=model.device_type, capabilities=1 if opener else 0),
        advanced=advanced,
        lock_state=1 if opener else 0,
    )


def _keypad(settings: Settings) -> str:
    return OPENER.keypad if settings.opener else MODELS[settings.generation].keypad


def _name(options: Options, usual: bytes) -> bytes:
    name = options.text("name", "").encode() if "name" in options else usual
    if len(name) > 32 or b"\0" in name:
        raise TargetError("name: at most 32 bytes of UTF-8 fit")
    return name


def _amounts(preset: str, options: Options, settings: Settings, keypad: str) -> dict[str, int]:
    """Return how much to make of each thing; a preset never asks for more than its generation holds."""
    usual = dict(AMOUNTS[preset])
    usual["codes"] = 0 if keypad == "none" else min(usual["codes"], settings.code_room)
    usual["timers"] = min(usual["timers"], settings.timer_room)
    usual["authorisations"] = min(usual["authorisations"], settings.user_room)
    if settings.old:
        usual |= {"codes": 0, "timers": 0, "fingerprints": 0}
    amounts = {name: options.integer(name, number, low=0, high=60000) for name, number in usual.items()}
    fingers = amounts["fingerprints"] if keypad in ("2", "both") and amounts["codes"] else 0
    return amounts | {"fingerprints": fingers}


def _arranged(flash: Flash, settings: Settings, *, half: bool) -> None:
    """Give every setting a value that is not the factory's, as far as it can have one."""
    config, advanced = flash.config, flash.advanced
    config.name = b"Gartentor" if half else "Eingang Süd 门".encode()
    config.latitude, config.longitude = struct.unpack("<ff", struct.pack("<ff", 47.0707, 15.4395))
    config.auto_unlatch, config.led_brightness, config.led_enabled = 1, 5 if half else 1, int(half)
    config.pairing_enabled, config.button_enabled = int(half), int(half)
    config.timezone_offset, config.dst_mode, config.timezone_id = (-300, 0, 12) if half else (120, 0, 38)
    config.has_fob, config.fob_action_1, config.fob_action_2, config.fob_action_3 = 1, 4, 3, 0
    config.single_lock, config.advertising_mode = 1, 1 if half else 2
    config.operating_mode = 2 if settings.opener else 0
    flash.door_sensor = not half and not settings.opener
    flash.door_sensor_logging = flash.door_sensor
    flash.lock_state = 1
    advanced.total_degrees = 1083
    advanced.unlocked_offset, advanced.locked_offset = 12, -7
    advanced.single_locked_offset, advanced.unlocked_to_locked_offset = -1, -90
    advanced.lock_n_go_timeout, advanced.single_button, advanced.double_button = 45, 3, 6
    advanced.detached_cylinder, advanced.battery_type, advanced.automatic_battery_type = 1, 2, 0
    advanced.unlatch_duration, advanced.auto_lock_timeout, advanced.auto_unlock_disabled = 7, 600, 1
    advanced.night_mode, advanced.night_start, advanced.night_end = 1, bytes([22, 30]), bytes([6, 15])
    advanced.night_auto_lock, advanced.night_auto_unlock_disabled, advanced.night_lock_at_start = 1, 1, 1
    advanced.auto_lock, advanced.immediate_auto_lock, advanced.auto_update = 1, 1, 0
    advanced.motor_speed, advanced.night_slow_speed = 2, 1


# ---- people ----------------------------------------------------------------------------------------------------------


def _window(number: int) -> bytes:
    """Return the limits of a record, in turn: dates, weekdays, time of day, all of it, one that has ended."""
    return (
        limits_of(datetime(2026, 6, 1), datetime(2037, 5, 31, 23, 59, 59)),  # noqa: DTZ001
        limits_of(weekdays=0b1001000),
        limits_of(start=(8, 0), end=(17, 30)),
        limits_of(datetime(2026, 1, 1), datetime(2040, 1, 1), 0b0111110, (22, 0), (5, 30)),  # noqa: DTZ001
        limits_of(datetime(2024, 2, 29, 6), datetime(2036, 2, 29, 18)),  # noqa: DTZ001
        limits_of(since=datetime(2026, 12, 1)),  # noqa: DTZ001
    )[number % 6]


def _users(flash: Flash, drawn: Random, count: int) -> None:
    """Make the owner, ourselves, and others of every type; ids have holes (section 14: they are never used again)."""
    number = 1
    for index in range(count):
        kind = (APP, APP, BRIDGE, FOB, KEYPAD)[index] if index < 5 else (APP, FOB, APP, APP)[index % 4]
        own = index == min(1, count - 1)
        created = TODAY - timedelta(days=900 - 11 * index, minutes=7 * index)
        flash.users[number] = User(
            authorization_id=number,
            id_type=kind,
            app_id=drawn.getrandbits(32),
            name=OWN_NAME if own else _user_name(kind, index),
            key=drawn.randbytes(32),
            enabled=own or index % 7 != 6,
            remote=kind != KEYPAD and index % 3 != 2,
            created=encode_date(created),
            last_active=NO_DATE if index % 5 == 4 else encode_date(TODAY - timedelta(hours=31 * index)),
            lock_count=0 if own else drawn.randrange(400),
            limits=b"" if own or index % 4 != 3 or kind != APP else _window(index // 4),
        )
        if own:
            flash.own_id = number
        number += 2 if index % 6 == 5 else 1
    flash.next_user_id = number


def _user_name(kind: int, index: int) -> bytes:
    if kind in (BRIDGE, KEYPAD):
        return b"Nuki Bridge" if kind == BRIDGE else b"Keypad"
    return USER_NAMES[index % len(USER_NAMES)].encode()


def _codes(flash: Flash, drawn: Random, count: int) -> None:
    """Make codes of mixed kinds: every second is limited somehow, every ninth disabled."""
    taken: set[int] = set()
    number = 3 if count else 1
    for index in range(count):
        code = 0
        while not code or code in taken or str(code).startswith("12"):
            code = int("".join(drawn.choices("123456789", k=6)))
        taken.add(code)
        created = TODAY - timedelta(days=400 - index, minutes=13 * index)
        flash.codes[number] = KeypadCode(
            code_id=number,
            code=code,
            name=CODE_NAMES[index % len(CODE_NAMES)].encode(),
            enabled=index % 9 != 8,
            created=encode_date(created),
            last_active=NO_DATE if index % 4 == 3 else encode_date(TODAY - timedelta(hours=5 * index)),
            lock_count=drawn.randrange(300),
            limits=_window(index // 2) if index % 2 else b"",
        )
        number += 3 if index % 10 == 9 else 1
    flash.next_code_id = number


def _fingerprints(flash: Flash, drawn: Random, count: int) -> None:
    codes = list(flash.codes)
    for index in range(count):
        name = ("Anna rechts", "Daumen", "Мария", "", "左手")[index % 5].encode()
        flash.fingerprints.append(
            Fingerprint(finger_id=drawn.randbytes(32), code_id=codes[index * 3 // 2 % len(codes)], name=name)
        )


def _timers(flash: Flash, count: int, *, opener: bool) -> None:
    actions = (1, 2, 4, 5) if opener else (2, 1, 6, 4, 3)
    for index in range(count):
        number = index + index // 4
        flash.timers[number] = Timer(
            entry_id=number,
            enabled=index % 3 != 2,
            weekdays=(0b1111100, 0b0000011, 0, 0b1000000)[index % 4],
            hour=(22 + index) % 24,
            minute=17 * index % 60,
            action=actions[index % len(actions)],
        )
        flash.next_timer_id = number + 1


# ---- log -------------------------------------------------------------------------------------------------------------


def _log(flash: Flash, count: int, *, opener: bool) -> None:
    """Make lines of every type that section 9.6 knows; the numbers do not begin with 1."""
    users, codes = list(flash.users.values()), list(flash.codes)
    first = 1041 if count > 3 else 1
    for index in range(count):
        user = users[index % len(users)] if users else None
        kind, data = _line(index, codes, opener=opener)
        name = b"" if user is None or kind in (6, 7, 10) else user.name
        if kind == 5:
            name = b"Code"[: 4 if opener else 3] + RUBBISH
        flash.log.append(
            LogEntry(
                index=first + index,
                date=encode_date(TODAY - timedelta(minutes=191 * (count - index))),
                authorization_id=0 if user is None or not name else user.authorization_id,
                name=name,
                kind=kind,
                data=data,
            )
        )
    flash.next_log_index = first + count


def _line(index: int, codes: list[int], *, opener: bool) -> tuple[int, bytes]:
    code = codes[index % len(codes)] if codes else 0xFFFF
    if opener:
        few = ((2, b"\x03\0\0\0"), (1, b"\1"), (5, struct.pack("<BBBH", 3, 1, 0, code)), (6, bytes(range(8))))
        return few[index % len(few)]
    lines = (
        (1, b"\x01"),
        (2, bytes([1, 0, 0, 0])),
        (5, struct.pack("<BBBH", 1, 1, 0, code)),
        (6, b"\x00"),
        (6, b"\x01"),
        (2, bytes([2, 2, 1, 0])),
        (3, bytes(4)),
        (4, bytes(4)),
        (5, struct.pack("<BBBH", 2, 2, 0xE1, code)),
        (7, b"\x01"),
        (2, bytes([3, 1, 2, 1])),
        (10, bytes([3, 9, 5])),
    )
    return lines[index % len(lines)]
