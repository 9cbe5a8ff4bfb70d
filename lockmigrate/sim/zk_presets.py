"""What a preset puts into a simulated ZKTeco-style terminal: made-up people, templates, doors and logs.

Everything is drawn from a seeded generator and describes nobody. Section numbers are those of the wire reference of the
family.
"""

from __future__ import annotations

import struct
from datetime import timedelta
from random import Random
from typing import Any, Final

from lockmigrate.errors import TargetError
from lockmigrate.profiles import Profile
from lockmigrate.sim.unit import Options
from lockmigrate.sim.zk_commands import EPOCH
from lockmigrate.sim.zk_data import Flash, Settings, user_id_of
from lockmigrate.sim.zk_packets import MAGIC, Code, build, encode_time

USERS: Final = {"empty": 0, "half": 20, "full": 40, "huge": 1000}
NED_UID: Final = 13
NED_TAIL: Final = bytes.fromhex("020100010002000000")
"""Bytes 39 to 47 of a published record: group 2, own zones 1 and 2 (zk-protocol, sections/data-user.md)."""
NAMES: Final = (
    "Ada Nord", "张伟", "Ben Ost", "", "Chris Süd", "李娜", "Dora West", "王芳", "Eli", "陈静 (Tor 3)",
    "Maximilian Musterperson", "赵敏", "O'Neil", "刘洋",
)  # fmt: skip
PLAIN: Final = ("Ada", "Ben", "", "Chris", "Dora", "Eli Ost", "Musterpe", "Fay")
"""For eight bytes."""
JUNK: Final = b"\xff\xfe\x80\x81\xff"
"""Bytes that are neither UTF-8 nor GBK."""
WINDOWS: Final = {
    1: "08001800" * 7,
    2: "23590000" + "09001730" * 5 + "23590000",
    3: "00002359" + "06002200" * 6,
    4: "23590000" * 7,
    5: "10001600" * 7,
    6: "00000000" + "12001201" * 6,
    7: "22002359" * 7,
    8: "05302330" * 7,
}
"""Time zone to start and end per day, Sunday first, as decimal digits; 3 times start later than end: closed."""
GROUP_ZONES: Final = {1: (1, 0, 0, 0), 2: (2, 3, 0, 0x80), 3: (3, 0, 0, 5), 4: (4, 5, 6, 0x8E), 5: (7, 8, 0, 1)}
COMBINED: Final = {1: (1,), 2: (2, 3), 3: (4, 4, 5)}
FAKE_ANSWER: Final = MAGIC + (8).to_bytes(4, "little") + build(Code.OK, 1, 1, b"")
"""Section 1: templates may hold what looks like a wrapped packet."""
ZERO_TAIL: Final = 8
OPTION_TEXTS: Final = {
    "~OS": "1", "FaceFunOn": "0", "FingerFunOn": "1", "~PIN2Width": "9", "~IsABCPinEnable": "0",
    "CompatOldFirmware": "0", "IPAddress": "192.168.1.201", "NetMask": "255.255.255.0", "GATEIPAddress": "192.168.1.1",
    "~OEMVendor": "SIMULATED", "~ProductTime": "2024-01-02 03:04:05", "WorkCode": "0", "~RFCardOn": "1",
    "~IsOnlyRFMachine": "0", "DeviceID": "1", "LockOn": "5", "RS232BaudRate": "115200",
}  # fmt: skip
"""Section 5; `ZKFaceVersion` is missing on purpose: that answers ERROR."""


def flash_of(profile: Profile, preset: str, options: Options, settings: Settings) -> Flash:
    """Fill a terminal as its preset and options want it.

    Raises:
        TargetError: an option has an impossible value, or more is asked for than fits.
    """
    flash = Flash(options=_options(profile, options, settings))
    flash.comm_key = options.integer("comm_key", 0, low=0, high=2**32 - 1)
    flash.reset_access()
    filled = preset != "empty"
    count = options.integer("users" if "users" in options else "fill", USERS[preset], low=0, high=65000)
    names = options.choice("names", "utf-8", ("utf-8", "gbk", "junk"))
    plain = options.choice("access", "mixed", ("mixed", "plain")) == "plain"
    for uid in _uids(count, holes=options.flag("holes", default=preset in ("full", "half"))):
        flash.users[uid] = _record(settings, uid, names, plain=plain)
        if settings.verify and uid % 6 == 3 and not plain:
            flash.verify[uid] = 0x80 + uid % 15
    fingers = options.integer("fingers", 0, low=0, high=10) if "fingers" in options else None
    _fingers(flash, settings, fingers, duress=options.flag("duress", default=filled))
    if filled and settings.width == 72 and not plain:
        _doors(flash)
    lines = options.integer("attendance", 30 if filled else 0, low=0, high=100000)
    _logs(flash, settings, lines, 12 if filled else 0)
    _damage(flash, settings, options.choice("duplicates", "none", ("none", "uid", "userid")), options.flag("orphan"))
    rooms = ((len(flash.users), settings.user_capacity), (len(flash.templates), settings.template_capacity))
    if any(used > room for used, room in rooms):
        raise TargetError("more users or templates than fit", hint="raise capacity or template_capacity")
    return flash


def made_up_template(seed: int, uid: int, finger: int, version: int) -> bytes:
    """Make a template that looks like one from far away; no two fingers give the same.

    Version 10 has the header that section 7 derives. Some hold what looks like an answer, some end in zeros, the others
    do not.
    """
    drawn = Random(f"zk template {seed} {uid} {finger} {version}")
    size = drawn.randrange(800, 1501) if version == 10 else drawn.randrange(310, 603)
    body = bytearray(drawn.randbytes(size))
    if (uid + finger) % 4 == 1:
        at = size // 3
        body[at : at + len(FAKE_ANSWER)] = FAKE_ANSWER
    if (uid + finger) % 3 == 0:
        body[-ZERO_TAIL:] = bytes(ZERO_TAIL)
    else:
        body[-1] |= 1
    if version == 10:
        body[0:10] = (size ^ 0x4943).to_bytes(2, "big") + b"SS21\0\0" + size.to_bytes(2, "big")
    return bytes(body)


# ---- users -----------------------------------------------------------------------------------------------------------


def _uids(count: int, *, holes: bool) -> list[int]:
    """Number the users. With holes every fifth number is free and the last user's is far away."""
    if not holes:
        return list(range(1, count + 1))
    found: list[int] = []
    uid = 0
    while len(found) < count:
        uid += 2 if uid % 5 == 4 else 1
        found.append(uid)
    if len(found) > NED_UID:
        found[-1] += 1000
    return found


def _record(settings: Settings, uid: int, names: str, *, plain: bool = False) -> bytes:
    """Make a user record (section 7); at uid 13 the published one of "Ned".

    `plain`: everybody in the first group, without time zones of their own, as most terminals are used.
    """
    drawn = Random(f"zk user {settings.seed} {uid}")
    # 1 super admin, 2 enroller, 3 manager, 4 disabled; then one manager in 40.
    privilege = {1: 14, 2: 2, 3: 6, 4: 1}.get(uid, 6 if uid % 40 == 3 else 0)
    digits = str(drawn.randrange(100, 100000)).encode() if uid % 3 else b""
    card = drawn.randrange(1, 1 << 32) if uid % 4 == 2 else 0
    group, user_id = 1 if plain else 1 + uid // 2 % 5, 1000 + 3 * uid
    if settings.width == 28:
        name = _name(PLAIN[uid % len(PLAIN)], uid, names, 8)
        bits = 0 if uid % 4 or plain else 1 << uid % 5
        head = struct.pack("<HB5s8sIx", uid, privilege, digits, name, card)
        return head + struct.pack("<BHI", group, bits, user_id)
    if uid == NED_UID and not plain:
        head = struct.pack("<HB8s24sI", uid, 0, b"444", b"Ned", 222)
        return head + NED_TAIL + b"555".ljust(24, b"\0")
    # Section 7: bytes after the password's NUL can be garbage.
    password = (digits + b"\0" + drawn.randbytes(8))[:8] if uid % 7 == 1 else digits
    name = _name(NAMES[uid % len(NAMES)], uid, names, 23)
    own = uid % 8 == 4 and not plain
    zones = (1 + uid % 8, 1 + (uid + 3) % 8, 0) if own else (0, 0, 0)
    head = struct.pack("<HB8s24sI", uid, privilege, password, name, card)
    return head + struct.pack("<B4H24s", group, int(own), *zones, str(user_id).encode())


def _name(text: str, uid: int, names: str, size: int) -> bytes:
    """Encode a name for the unit's code page, cut where a character ends."""
    if names == "junk" and uid % 3 == 1:
        return JUNK + str(uid).encode()
    code_page = "gbk" if names == "gbk" else "utf-8"
    encoded = text.encode(code_page, "replace")
    while len(encoded) > size:
        text = text[:-1]
        encoded = text.encode(code_page, "replace")
    return encoded


def _fingers(flash: Flash, settings: Settings, each: int | None, *, duress: bool) -> None:
    """Give every user its templates: as many as asked for, else two and one in turn (in a huge unit two)."""
    for count, uid in enumerate(flash.users):
        usual = 2 if len(flash.users) >= 1000 or count % 2 == 0 else 1
        number = usual if each is None else each
        for finger in sorted(Random(f"zk fingers {settings.seed} {uid}").sample(range(10), number)):
            flash.templates[uid, finger] = 1, made_up_template(settings.seed, uid, finger, settings.fp)
    if duress and flash.templates:
        key = list(flash.templates)[len(flash.templates) // 3]
        flash.templates[key] = 3, flash.templates[key][1]


def _damage(flash: Flash, settings: Settings, duplicates: str, orphan: bool) -> None:
    """Make tables that cannot be right."""
    uids = list(flash.users)
    if duplicates != "none" and len(uids) < 2:
        raise TargetError("duplicates: at least two users are needed")
    if duplicates == "uid":
        record = bytearray(flash.users[uids[0]])
        record[settings.record.name_at : settings.record.name_at + 2] = b"DD"
        flash.doubles.append(bytes(record))
    elif duplicates == "userid":
        at = settings.record.user_id_at
        flash.users[uids[1]] = flash.users[uids[1]][:at] + flash.users[uids[0]][at:]
    if orphan:
        uid = max(uids, default=0) + 7
        flash.templates[uid, 0] = 1, made_up_template(settings.seed, uid, 0, settings.fp)


# ---- doors and logs --------------------------------------------------------------------------------------------------


def _doors(flash: Flash) -> None:
    for number, digits in WINDOWS.items():
        flash.zones[number] = bytes(int(digits[at : at + 2]) for at in range(0, len(digits), 2))
    for number, (first, second, third, style) in GROUP_ZONES.items():
        flash.groups[number] = struct.pack("<BHHHB", number, first, second, third, style)
    for number, groups in COMBINED.items():
        flash.combinations[number] = struct.pack("<B5sH", number, bytes(groups), len(groups))


def _logs(flash: Flash, settings: Settings, lines: int, operations: int) -> None:
    drawn = Random(f"zk logs {settings.seed}")
    people = list(flash.users.values()) or [bytes(settings.width)]
    moment = EPOCH - timedelta(days=20)
    for _ in range(lines):
        moment += timedelta(seconds=drawn.randrange(60, 30000))
        record, verify, state = drawn.choice(people), drawn.randrange(3), drawn.randrange(2)
        time, uid, user_id = encode_time(moment), record[:2], user_id_of(record)
        if settings.attendance_bytes == 40:
            line = struct.pack("<2s24sBIB8s", uid, user_id, verify, time, state, bytes.fromhex("00000000ff000000"))
        elif settings.attendance_bytes == 16:
            number = int(user_id) if user_id.isdigit() else 0
            line = struct.pack("<IIBB2xI", number, time, state, verify, 0)
        else:
            line = struct.pack("<2sBIB", uid, verify, time, state)
        flash.attlog.append(line)
    for count in range(operations):
        flash.oplog.append(struct.pack("<HBBI4H", 0, drawn.randrange(32), 0, encode_time(moment), count, 0, 0, 0))


def _options(profile: Profile, options: Options, settings: Settings) -> dict[str, str]:
    """Return what OPTIONS_RRQ knows (section 5)."""
    known: dict[str, Any] = profile.simulated
    modern = {"~ExtendFmt": "1", "~UserExtFmt": "1"} if settings.width == 72 else {}
    return {
        "~SerialNumber": settings.serial,
        "~DeviceName": str(known.get("device_name", "SIM-ZK")),
        "~Platform": options.text("platform", str(known.get("platform", "SIM_TFT"))),
        "~ZKFPVersion": str(settings.fp),
        "MAC": "02:00:00:" + ":".join(settings.serial.encode()[-3:].hex()[at : at + 2] for at in (0, 2, 4)),
        **OPTION_TEXTS,
        **modern,
    }
