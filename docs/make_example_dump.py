"""Write `docs/examples/example-keypad.bin`: the memory of a keypad lock that does not exist, with people who do not.

It knows nothing of `lockmigrate`: the layout is written down here a second time, so that a slip in the profile
`example-keypad-eeprom` or in its decoder shows as a failing test.

python docs/make_example_dump.py
"""

from __future__ import annotations

import binascii
import random
import struct
from pathlib import Path

FILE = Path(__file__).parent / "examples" / "example-keypad.bin"
SIZE = 2048
ENABLED, DISABLED, ADMIN = 0x01, 0x02, 0x80
NO_CARD = 0xFFFFFFFF

PEOPLE = [
    # record, number, state, PIN, card, name, until, floor
    (0, 1, ENABLED | ADMIN, "80251937", 0x1A2B3C4D, "林小满", None, 1),
    (1, 2, ENABLED, "0042", NO_CARD, "Ada Example", None, 1),
    (2, 3, ENABLED, "135790", 0x00C0FFEE, "何一诺", "270630", 2),
    (4, 5, DISABLED, "7700", NO_CARD, "Bo Sample", None, 2),
    (7, 8, ENABLED, "", 0x7F000001, "仓库", None, 0),
    (11, 300, ENABLED, "000000", NO_CARD, "夜班", None, 3),
]
SPARE_CARDS = [(2, 0x0BADCAFE), (0, 0x5EED0001)]
"""Owner's number (0: nobody) and card."""
FINGERS = [(0, 1, 1, 96), (1, 1, 2, 96), (4, 3, 6, 122)]
"""Record, owner's number, finger, bytes of the template."""


def image() -> bytes:
    """Return the whole memory."""
    memory = bytearray(b"\xff" * SIZE)
    memory[0x000:0x040] = config()
    for record, *person in PEOPLE:
        at = 0x040 + 32 * record
        memory[at : at + 32] = people_record(*person)
    for record, (owner, card) in enumerate(SPARE_CARDS):
        body = struct.pack("<H", owner) + struct.pack(">I", card) + b"\xff"
        memory[0x340 + 8 * record : 0x348 + 8 * record] = body + bytes((xor8(body),))
    for record, owner, finger, size in FINGERS:
        at = 0x400 + 128 * record
        memory[at : at + 128] = finger_record(owner, finger, size)
    return bytes(memory)


def config() -> bytes:
    """Return the header: mark, serial number, firmware, settings, the administrator's code, how many spare cards."""
    body = b"EXKP" + bytes((1,)) + b"EX240017" + b"1.04" + bytes((5, 3, 0x05)) + packed("24681357", 4)
    body += bytes((len(SPARE_CARDS),))
    body = body.ljust(62, b"\xff")
    return body + struct.pack("<H", crc16_modbus(body))


def people_record(number: int, state: int, pin: str, card: int, name: str, until: str | None, floor: int) -> bytes:
    """Return one person: 32 bytes, the last of which is their sum."""
    body = struct.pack("<HB", number, state) + packed(pin, 4) + struct.pack(">I", card)
    body += name.encode("gbk").ljust(14, b"\x00")[:14]
    body += packed(until or "", 3) + bytes((floor,)) + b"\xff\xff"
    return body + bytes((sum(body) % 256,))


def finger_record(owner: int, finger: int, size: int) -> bytes:
    """Return one finger: 128 bytes. The template is noise from a seeded generator, never that of a real finger."""
    noise = random.Random(f"example {owner} {finger}").randbytes(size)  # noqa: S311 - invented
    body = struct.pack("<HBB", owner, finger, size) + noise.ljust(122, b"\x00")
    return body + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))


def packed(digits: str, size: int) -> bytes:
    """Return packed BCD: two digits a byte, F where there is none."""
    return bytes.fromhex(digits.ljust(2 * size, "F"))


def xor8(data: bytes) -> int:
    """Return all bytes in exclusive or."""
    value = 0
    for byte in data:
        value ^= byte
    return value


def crc16_modbus(data: bytes) -> int:
    """Return the CRC of the Modbus protocol, bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(image())
