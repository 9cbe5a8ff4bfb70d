"""What a preset puts into a simulated TTLock lock: made-up codes, cards, fingers, settings and a log.

Everything is drawn from a seeded generator and belongs to nobody. Section numbers are those of the wire reference of
the family.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Final

from lockmigrate.errors import TargetError
from lockmigrate.sim.ttlock_frames import encode_date
from lockmigrate.sim.ttlock_keys import new_key, well_logged
from lockmigrate.sim.ttlock_records import (
    CARD_KIND,
    CODE_LIMIT,
    CYCLIC,
    FINGER_KIND,
    ONE_TIME,
    PERIOD,
    PERMANENT,
    PERMANENT_FROM,
    PERMANENT_TO,
    PERMANENT_TO_2,
    SEED_YEARS,
    Card,
    Finger,
    Flash,
    LogEntry,
    Passage,
    Passcode,
    Seed,
    Switches,
    WeeklyLimit,
    one_code,
    two_codes,
)
from lockmigrate.sim.ttlock_session import factory_flash
from lockmigrate.sim.ttlock_settings import Settings, switch_mask
from lockmigrate.sim.unit import Options

TODAY: Final = datetime(2026, 11, 25, 12, 0)  # noqa: DTZ001 - the wire names no zone
"""When the presets were filled, whatever the lock's clock shows."""
AMOUNTS: Final = {
    "full": {"passcodes": 200, "cards": 100, "fingers": 50, "passage": 6, "log": 60},
    "half": {"passcodes": 100, "cards": 50, "fingers": 25, "passage": 3, "log": 30},
    "empty": {"passcodes": 0, "cards": 0, "fingers": 0, "passage": 0, "log": 3},
    "fresh": {"passcodes": 0, "cards": 0, "fingers": 0, "passage": 0, "log": 0},
    "huge": {"passcodes": 600, "cards": 500, "fingers": 200, "passage": 20, "log": 1000},
}
"""Preset to how much it makes."""
ROOMS: Final = {"passcodes": "passcode_room", "cards": "card_room", "fingers": "finger_room", "passage": "passage_room"}
FEATURES: Final = {"passcodes": 0, "cards": 1, "fingers": 2, "passage": 22}
"""Section 5: what a lock without the feature has none of."""
WINDOWS: Final = (
    (datetime(2026, 6, 1), datetime(2037, 5, 31, 23, 59)),  # noqa: DTZ001
    (datetime(2024, 2, 29, 6), datetime(2036, 2, 29, 18)),  # noqa: DTZ001
    (datetime(2026, 11, 2, 8, 30), datetime(2099, 12, 1, 23, 59)),  # noqa: DTZ001
    (datetime(2030, 1, 1), datetime(2030, 12, 31, 23, 0)),  # noqa: DTZ001
    (datetime(2025, 9, 15, 7, 15), datetime(2044, 3, 31, 4, 45)),  # noqa: DTZ001
)
"""Dates from and to: with hours, minutes and leap days, one that has not begun, none that has ended."""
ENDED: Final = datetime(2020, 1, 1), datetime(2024, 6, 30, 18)  # noqa: DTZ001
CYCLES: Final = (b"\x04\x30", b"\x04\x00", b"\x04\x19", b"\x03\xe8", b"\x04\xa9")
"""Cycle words as R has seen them: Monday, every day, workdays for two hours, weekend, Saturday for two hours."""


def room_of(preset: str) -> dict[str, int]:
    """Return the room that a preset needs, by the names of the options."""
    return {ROOMS[name]: count for name, count in AMOUNTS[preset].items() if name in ROOMS}


def flash_of(preset: str, options: Options, settings: Settings) -> Flash:
    """Fill a lock as its preset and options want it.

    Raises:
        TargetError: an option has an impossible value, or more is asked for than fits.
    """
    drawn = Random(f"ttlock flash {settings.seed} {settings.mac}")
    amounts = _amounts(preset, options, settings)
    ended = options.integer("expired", 0, low=0, high=5000)
    key = settings.aes_key or new_key(drawn.randbytes, settings)
    admin_ps = options.integer("admin_ps", drawn.randrange(10**7, 10**9), low=0, high=2**32 - 1)
    unlock_key = options.integer("unlock_key", drawn.randrange(10**7, 10**9), low=0, high=2**32 - 1)
    position = options.integer("lock_flag_pos", 0, low=0, high=0xFFFFFF)
    code = options.text("admin_passcode", "".join(drawn.choices("0123456789", k=7)))
    if not (code.isascii() and code.isdigit() and (code == "0" or 4 <= len(code) <= 9)):
        raise TargetError("admin_passcode: 4 to 9 digits are needed, or 0 for none")
    flash = factory_flash()
    if options.flag("setting", default=preset == "fresh"):
        return flash
    flash.aes_key, flash.admin_ps, flash.unlock_key, flash.lock_flag_pos = key, admin_ps, unlock_key, position
    flash.admin_passcode = "" if code == "0" else code
    if preset in ("full", "half", "huge"):
        flash.settings = _arranged(settings, half=preset == "half")
    _seeds(flash, drawn)
    _passcodes(flash, drawn, settings, amounts["passcodes"])
    _cards(flash, drawn, amounts["cards"])
    _fingers(flash, drawn, amounts["fingers"])
    _end(flash, ended)
    if settings.has(34):
        _weekly_limits(flash)
    _passage(flash, amounts["passage"])
    _log(flash, drawn, amounts["log"], first=options.integer("log_first", 0, low=0, high=60000))
    for entry in flash.log:
        well_logged(entry, key, settings)
    return flash


def _amounts(preset: str, options: Options, settings: Settings) -> dict[str, int]:
    """Return how much to make of each thing; a preset makes nothing that its lock does not know."""
    usual = {
        name: number if settings.has(FEATURES.get(name, 0)) or name == "log" else 0
        for name, number in AMOUNTS[preset].items()
    }
    amounts = {name: options.integer(name, number, low=0, high=5000) for name, number in usual.items()}
    for name, option in ROOMS.items():
        room = getattr(settings, option)
        if name not in options:
            amounts[name] = min(amounts[name], room)
        if amounts[name] > room:
            raise TargetError(f"{name}: only {room} fit into this lock")
    return amounts


def _arranged(settings: Settings, *, half: bool) -> Switches:
    """Give every setting a value that is not the factory's, as far as the lock knows it."""
    mask = switch_mask(settings.features)
    return Switches(
        auto_lock_s=max(settings.auto_lock_min, min(30 if half else 15, settings.auto_lock_max)),
        door_sensor=int(settings.has(13) and not half),
        audio=int(half),
        volume=2 if half else 5,
        show_passcode=int(settings.has(9)),
        remote_unlock=int(settings.has(14)),
        lamp_s=(10 if half else 25) if settings.has(25) else 0,
        switches=mask & (1 if half else 0x26),
    )


# ---- codes -----------------------------------------------------------------------------------------------------------


def _seeds(flash: Flash, drawn: Random) -> None:
    """Section 7.4: a code and a permutation of ten digits for each of ten years."""
    for year in range(26, 26 + SEED_YEARS):
        digits = "".join(drawn.sample("0123456789", 10))
        flash.seeds.append(Seed(year=year, code=drawn.randrange(CODE_LIMIT), secret=int(digits)))
    flash.seeds_reset = encode_date(TODAY - timedelta(days=200), 5)


def _passcodes(flash: Flash, drawn: Random, settings: Settings, count: int) -> None:
    """Mostly permanent and dated ones, a few for one time and cyclic; every ninth was changed; places have holes."""
    taken = {flash.admin_passcode}
    place = 1
    for index in range(count):
        original, code = _new_code(drawn, settings, taken), ""
        if index % 9 == 4 and settings.has(7):
            code = _new_code(drawn, settings, taken)
        kind = (PERMANENT, PERIOD, PERMANENT, PERIOD)[index % 4]
        if index % 40 == 11:
            kind = ONE_TIME
        elif index % 40 == 17 and settings.has(12):
            kind = CYCLIC
        passcode = Passcode(kind=kind, code=code or original, original=original)
        since, until = WINDOWS[index // 4 % len(WINDOWS)]
        if kind in (ONE_TIME, PERIOD):
            passcode.start, passcode.end = encode_date(since, 5), encode_date(until, 5)
        elif kind == CYCLIC:
            passcode.start = PERMANENT_FROM[:3] + bytes([8 + index % 5, 30])
            passcode.cycle = CYCLES[index // 40 % len(CYCLES)]
        elif index % 3 == 2:
            passcode.start = encode_date(TODAY - timedelta(days=index), 5)
        flash.passcodes[place] = passcode
        place += 2 if index % 10 == 9 and count < settings.passcode_room else 1


def _new_code(drawn: Random, settings: Settings, taken: set[str]) -> str:
    """Make a code of any allowed length that nobody has; every length occurs, leading zeros too."""
    while True:
        length = drawn.randint(max(4, settings.min_code), max(4, min(9, settings.max_code)))
        code = "".join(drawn.choices("0123456789", k=length))
        if code not in taken:
            taken.add(code)
            return code


def _cards(flash: Flash, drawn: Random, count: int) -> None:
    """Two of six have numbers of 8 bytes, one after the other; every second is dated."""
    numbers: set[bytes] = set()
    while len(numbers) < count:
        size = 8 if len(numbers) % 6 > 3 else 4
        number = drawn.randbytes(size)
        if number in numbers:
            continue
        card = Card(number=number)
        _date(card, len(numbers))
        numbers.add(number)
        flash.cards[len(numbers)] = card


def _fingers(flash: Flash, drawn: Random, count: int) -> None:
    """R takes the last two bytes of a number for a slot; the first four are any."""
    for index in range(count):
        finger = Finger(number=drawn.randbytes(4) + index.to_bytes(2, "big"))
        if index % 5 == 4:
            finger.end = PERMANENT_TO_2
        else:
            _date(finger, index)
        flash.fingers[index + 1] = finger


def _date(record: Card | Finger, index: int) -> None:
    record.end = PERMANENT_TO
    if index % 2:
        since, until = WINDOWS[index // 2 % len(WINDOWS)]
        record.start, record.end = encode_date(since, 5), encode_date(until, 5)


def _end(flash: Flash, count: int) -> None:
    """Let windows lie in the past."""
    since, until = (encode_date(date, 5) for date in ENDED)
    dated = [passcode for passcode in flash.passcodes.values() if passcode.end]
    records: list[Passcode | Card | Finger] = [*dated[:count]]
    records += [*list(flash.cards.values())[:count], *list(flash.fingers.values())[:count]]
    for record in records:
        record.start, record.end = since, until


def _weekly_limits(flash: Flash) -> None:
    """Every fourth card and every third finger opens on some weekdays alone, one of them twice a day."""
    chosen = [(CARD_KIND, card.number) for card in list(flash.cards.values())[::4]]
    chosen += [(FINGER_KIND, finger.number) for finger in list(flash.fingers.values())[::3]]
    for index, (kind, number) in enumerate(chosen):
        for weekday in range(1 + index % 3, 6):
            start, end = (7 + index % 4, 30), (17, 45)
            flash.weekly_limits.append(WeeklyLimit(kind=kind, number=number, weekday=weekday, start=start, end=end))
        if index == 0:
            flash.weekly_limits.append(WeeklyLimit(kind=kind, number=number, weekday=1, start=(20, 0), end=(21, 0)))


def _passage(flash: Flash, count: int) -> None:
    for index in range(count):
        weekly = index % 3 != 2
        flash.passage[index + 1] = Passage(
            kind=1 if weekly else 2,
            day=index % 8 if weekly else 1 + index,
            month=0 if weekly else 1 + index % 12,
            start=(8 + index % 5, 0) if index else (0, 0),
            end=(17, 30) if index else (0, 0),
        )


# ---- log -------------------------------------------------------------------------------------------------------------


def _log(flash: Flash, drawn: Random, count: int, *, first: int) -> None:
    """Make records of every type that section 11 knows; the last third of them is unread."""
    for index in range(count):
        kind, tail = _line(flash, drawn, index)
        moment = TODAY - timedelta(minutes=193 * (count - index), seconds=7 * index % 60)
        flash.log.append(
            LogEntry(number=first + index, kind=kind, date=encode_date(moment), battery=90 - index // 40, tail=tail)
        )
    flash.next_log_number = first + count
    flash.next_unread = first + count - count // 3


def _line(flash: Flash, drawn: Random, index: int) -> tuple[int, bytes]:
    """Return type and tail of a record."""
    codes, cards, fingers = [*flash.passcodes.values()], [*flash.cards.values()], [*flash.fingers.values()]
    passcode = codes[index % len(codes)] if codes else None
    both = two_codes(passcode.original, passcode.code) if passcode else two_codes("1379", "1379")
    card = cards[index % len(cards)].number if cards else b"\x12\x34\x56\x78"
    finger = fingers[index % len(fingers)].number if fingers else bytes(5) + b"\x01"
    person = bytes(4) + (1_790_000_000 + index).to_bytes(4, "big")
    digits = "".join(drawn.choices("0123456789", k=6))
    mac = drawn.randbytes(6)
    date = encode_date(TODAY - timedelta(days=index), 5)
    lines = (
        (14, b""), (1, person), (26, person), (4, both), (7, one_code(digits)), (17, card), (20, finger), (5, both),
        (6, both), (8, date), (9, both), (10, both), (11, both), (12, both), (13, both), (15, card), (16, b""),
        (18, card), (19, mac), (21, finger), (22, finger), (23, finger), (24, b""), (25, card), (27, b""),
        (28, person), (29, b""), (30, b""), (31, b""), (32, b""), (33, finger), (34, both), (35, card), (36, b""),
        (37, person + b"\x01"), (38, both), (39, card), (40, finger), (41, person), (42, b""), (48, b""),
        (51, card), (52, person), (55, mac + b"\x02\x55"), (56, mac + b"\x4d"), (74, card), (75, person), (77, person),
        (93, one_code(digits) + PERMANENT_FROM + PERMANENT_TO),
    )  # fmt: skip
    return lines[index % len(lines)]
