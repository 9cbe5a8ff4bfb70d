"""What a simulated 0xEF01 module does with a command that has arrived: its RAM, its flash, its answers.

Section numbers are those of the wire reference of the family. Where the public papers leave something open, the choice
is marked "unconfirmed".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from lockmigrate.sim.ef01_data import FACTORY_PASSWORD, PAGE_BYTES, Flash, Settings

INFO_BYTES: Final = 512
"""Section 3.5: the information page."""
R50X_SPEEDS: Final = (1, 2, 4, 6, 12)
"""Section 1: the only N that an R503 takes."""
REGISTERS_HILINK: Final = {0: 255, 1: 255, 2: 255, 3: 2, 4: 12, 5: 28, 6: 3, 7: 21, 8: 255, 9: 255}
"""Section 4.3, register to its highest value; "255" where no limit is given."""
SENSOR_PIXELS: Final = 192
"""Width and height that ReadProdInfo tells; ours."""

Answer = tuple[int, bytes]
"""A confirmation code and what follows it in the acknowledgement."""
Command = tuple[int, Callable[[bytes], Answer]]
"""How many bytes of parameters a command has, and what obeys it."""


@dataclass
class Ram:
    """What a module forgets without power (section 9)."""

    speed_n: int
    buffers: dict[int, bytes] = field(default_factory=dict)
    verified: bool = False
    matched: bool = False
    image: bool = False
    transfer: int | None = None
    """The buffer that DownChar fills at the moment."""
    incoming: bytearray = field(default_factory=bytearray)
    stopped: bool = False
    """Port switched off or in its firmware loader: silent until the power fails."""


class Commands:
    """The commands of one module; knows no frames and no time."""

    def __init__(self, settings: Settings, flash: Flash, on_flash_change: Callable[[], None]) -> None:
        self.settings = settings
        self.flash = flash
        self.ram = Ram(speed_n=flash.speed_n)
        self._on_flash_change = on_flash_change
        self._random = Random(f"ef01 random {settings.seed} {settings.serial}")
        self.table = self._without_quirks(self._table())

    def power_on(self) -> None:
        """Forget everything that is not in flash."""
        self.ram = Ram(speed_n=self.flash.speed_n)

    def answer(self, code: int, parameters: bytes) -> Answer | None:
        """Obey one command; None where the module stays silent."""
        # Section 9; HandShake and GetEcho without a password are unconfirmed.
        free = (0x13, 0x53, 0x35 if self.settings.hilink else 0x40)
        if self.flash.password != FACTORY_PASSWORD and not self.ram.verified and code not in free:
            return 0x21, b""
        if code not in self.table:
            silent = "silent-unknown" in self.settings.quirks
            # Section 6: FC is the R503's, everyone else has only 01.
            return None if silent else (0xFC if self.settings.r50x else 0x01, b"")
        size, obey = self.table[code]
        return obey(parameters) if len(parameters) == size else (0x01, b"")

    def upload(self, code: int, parameters: bytes) -> bytes | None:
        """Return what follows a good answer in data packets, if anything does."""
        if code == 0x08:
            return self.ram.buffers[self._transfer_buffer(parameters[0])]
        return self._information() if code == 0x16 else None

    def take_data(self, content: bytes, *, good: bool, last: bool) -> bool:
        """Take a data packet of a running transfer; False asks for the one ack 01 of a damaged one (section 9).

        After damage a careless Store would save what came so far.
        """
        self.ram.incoming += content
        good = good and len(content) <= self.flash.packet_bytes
        if last or not good:
            self.end_transfer()
        return good

    def end_transfer(self) -> None:
        """Put what came into the buffer. Too short is filled up and too long is cut off (unconfirmed)."""
        if self.ram.transfer is not None:
            size = self.settings.template_bytes
            self.ram.buffers[self.ram.transfer] = bytes(self.ram.incoming[:size]).ljust(size, b"\0")
        self.ram.transfer = None
        self.ram.incoming.clear()

    def power_fails_during(self, code: int, parameters: bytes) -> bool:
        """Tear a slot in the middle of a Store, if that was asked for.

        Section 7.3: a power cut during Store may lose the slot. Half of it is new then, and it cannot be read.
        """
        if code != 0x06 or len(parameters) != 3:
            return False
        slot, template = _u16(parameters, 1), self.ram.buffers.get(self._transfer_buffer(parameters[0]))
        if template is None or slot >= self.settings.slots or not self.settings.happens("torn-store", slot):
            return False
        self.flash.templates[slot] = template[: len(template) // 2].ljust(len(template), b"\xff")
        self.flash.torn.add(slot)
        self._on_flash_change()
        return True

    def new_speed_at_once(self) -> bool:
        """Section 3.1: the sources disagree; an R503 "must be powered on again", the others change after the answer."""
        quirks = self.settings.quirks
        return "baud-now" in quirks or not (self.settings.r50x or "baud-later" in quirks)

    def _table(self) -> dict[int, Command]:
        """Command code to the size of its parameters in bytes and what obeys it (sections 3 and 4)."""
        done = self._done
        table: dict[int, Command] = {
            0x01: (0, self._gen_image), 0x02: (1, self._image_to_features), 0x03: (0, self._match),
            0x04: (5, lambda p: self._search(p[0], _u16(p, 1), _u16(p, 3))), 0x05: (0, self._merge),
            0x06: (3, self._store), 0x07: (3, self._load), 0x08: (1, self._up), 0x09: (1, self._down),
            0x0A: (0, lambda _: (0x0F, b"")), 0x0B: (0, lambda _: (0x0E, b"")), 0x0C: (4, self._delete),
            0x0D: (0, self._empty), 0x0E: (2, self._set_parameter), 0x0F: (0, lambda _: (0, self._parameters())),
            0x12: (4, self._set_password), 0x13: (4, self._verify), 0x14: (0, self._draw),
            0x15: (4, self._set_address), 0x16: (0, done), 0x17: (1, self._port), 0x18: (33, self._write_page),
            0x19: (1, self._read_page), 0x1D: (0, self._count), 0x1F: (1, self._index),
        }  # fmt: skip
        if self.settings.hilink:
            table |= {
                0x1A: (1, self._loader), 0x29: (0, self._gen_image), 0x30: (0, done), 0x31: (5, self._auto_enroll),
                0x32: (5, self._auto_identify), 0x33: (0, done), 0x34: (1, self._chip_serial), 0x35: (0, done),
                0x36: (0, done), 0x3B: (0, self._empty), 0x3C: (4, done), 0x3D: (0, lambda _: (0, b"\x50\x50")),
                0x3E: (4, lambda p: self._search(1, _u16(p, 0), _u16(p, 2))), 0xE0: (0, self._empty),
            }  # fmt: skip
            return table
        table |= {0x1A: (1, self._loader), 0x1B: table[0x04]}
        if self.settings.buffers >= 6:
            table |= {0x35: (4, done), 0x40: (0, done)}
        if self.settings.r50x:
            text = self.settings.texts
            table |= {
                0x28: (0, self._gen_image), 0x30: (0, done), 0x31: (5, self._auto_enroll),
                0x32: (5, self._auto_identify), 0x36: (0, done), 0x3C: (0, self._product), 0x3D: (0, done),
                0x39: (0, lambda _: (0, _text(text.get("algorithm_text", ""), 32))),
                0x3A: (0, lambda _: (0, _text(text.get("firmware_text", ""), 32))),
            }  # fmt: skip
        else:
            table |= {0x50: (0, done), 0x51: (0, done), 0x52: (0, self._gen_image), 0x53: (0, lambda _: (0x55, b""))}
        return table

    def _without_quirks(self, table: dict[int, Command]) -> dict[int, Command]:
        gone = {"no-index": (0x1F,), "no-sysparams": (0x0F,), "no-algver": (0x39,), "no-prodinfo": (0x39, 0x3A, 0x3C)}
        missing = {code for quirk, codes in gone.items() if quirk in self.settings.quirks for code in codes}
        return {code: entry for code, entry in table.items() if code not in missing}

    @staticmethod
    def _done(_: bytes) -> Answer:
        return 0, b""

    # ---- fingers -----------------------------------------------------------------------------------------------------

    def _gen_image(self, _: bytes) -> Answer:
        self.ram.image = self.settings.finger is not None
        return (0 if self.ram.image else 0x02), b""

    def _image_to_features(self, parameters: bytes) -> Answer:
        if not self.ram.image or self.settings.finger is None:
            return 0x15, b""
        self.ram.buffers[self._buffer_of(parameters[0])] = self.settings.made_up(self.settings.finger)
        return 0, b""

    def _merge(self, _: bytes) -> Answer:
        first, second = self.ram.buffers.get(1), self.ram.buffers.get(2)
        return (0 if first is not None and first == second else 0x0A), b""

    def _match(self, _: bytes) -> Answer:
        if self.flash.encryption >= 2:
            return 0x31, b""
        matched = self._merge(b"")[0] == 0
        return (0, (100).to_bytes(2, "big")) if matched else (0x08, bytes(2))

    def _search(self, buffer: int, start: int, count: int) -> Answer:
        if self.flash.encryption >= 2:
            return 0x31, b""
        wanted = self.ram.buffers.get(self._buffer_of(buffer))
        for slot in range(start, min(start + count, self.settings.slots)):
            if wanted is not None and slot not in self.flash.torn and self.flash.templates.get(slot) == wanted:
                self.ram.matched = True
                return 0, slot.to_bytes(2, "big") + (95 + slot % 150).to_bytes(2, "big")
        self.ram.matched = False
        # Section 3: slot and score should be 0, an R503 sent slot 01 EE.
        return 0x09, bytes.fromhex("01ee0000") if "odd-search" in self.settings.quirks else bytes(4)

    def _auto_enroll(self, _: bytes) -> Answer:
        """Nobody lays a finger on a simulated sensor several times: timeout in step 1."""
        return (0x31, bytes(2)) if self.flash.encryption >= 2 else (0x26, b"\x01\x00")

    def _auto_identify(self, _: bytes) -> Answer:
        if self.flash.encryption >= 2:
            return 0x31, bytes(5)
        if self._gen_image(b"")[0] != 0:
            return 0x26, b"\x01" + bytes(4)
        self._image_to_features(b"\x01")
        code, found = self._search(1, 0, self.settings.slots)
        return code, b"\x03" + found

    # ---- templates ---------------------------------------------------------------------------------------------------

    def _buffer_of(self, number: int) -> int:
        """Section 7.1: with two buffers any number but 1 means 2."""
        if self.settings.hilink or self.settings.buffers > 2:
            return number
        return 1 if number == 1 else 2

    def _transfer_buffer(self, number: int) -> int:
        """Section 7.1: an R50x has one buffer for transfers and ignores the number."""
        return 1 if self.settings.r50x and 1 <= number <= 6 else self._buffer_of(number)

    def _load(self, parameters: bytes) -> Answer:
        slot = _u16(parameters, 1)
        if self.settings.hilink and parameters[0] != 2:
            return 0x35, b""  # section 4: only buffer 2 (the code is unconfirmed)
        if slot >= self.settings.slots:
            return 0x0B, b""
        if slot not in self.flash.templates or slot in self.flash.torn:
            return 0x0C, b""
        self.ram.buffers[self._transfer_buffer(parameters[0])] = self.flash.templates[slot]
        return 0, b""

    def _up(self, parameters: bytes) -> Answer:
        if self.flash.encryption:
            return 0x31, b""
        return (0 if self._transfer_buffer(parameters[0]) in self.ram.buffers else 0x0D), b""

    def _down(self, parameters: bytes) -> Answer:
        if self.flash.encryption:
            return 0x31, b""
        if self.settings.hilink and parameters[0] != 1:
            return 0x0E, b""  # section 4: only buffer 1 (the code is unconfirmed)
        self.ram.transfer = self._transfer_buffer(parameters[0])
        self.ram.buffers.pop(self.ram.transfer, None)
        return 0, b""

    def _store(self, parameters: bytes) -> Answer:
        slot = _u16(parameters, 1)
        template = self.ram.buffers.get(self._transfer_buffer(parameters[0]))
        if self.flash.encryption >= 2:
            return 0x31, b""
        if slot >= self.settings.slots:
            return 0x0B, b""
        if template is None or (self.settings.hilink and parameters[0] != 1):
            return (0x35 if self.settings.hilink else 0x18), b""  # an empty buffer: unconfirmed
        if self.settings.happens("store-fails", slot):
            return 0x18, b""
        if self.settings.happens("readback-differs", slot):
            middle = len(template) // 2
            template = template[:middle] + bytes([template[middle] ^ 0x01]) + template[middle + 1 :]
        self.flash.templates[slot] = template
        self.flash.torn.discard(slot)
        self._on_flash_change()
        return 0, b""

    def _delete(self, parameters: bytes) -> Answer:
        first, count = _u16(parameters, 0), _u16(parameters, 2)
        if first + count > self.settings.slots:
            return 0x10, b""
        for slot in range(first, first + count):
            self.flash.templates.pop(slot, None)
            self.flash.torn.discard(slot)
        self._on_flash_change()
        return 0, b""

    def _empty(self, _: bytes) -> Answer:
        self.flash.templates.clear()
        self.flash.torn.clear()
        self._on_flash_change()
        return 0, b""

    def _count(self, _: bytes) -> Answer:
        count = 0 if "count-zero" in self.settings.quirks else len(self.flash.templates)
        return 0, count.to_bytes(2, "big")

    def _index(self, parameters: bytes) -> Answer:
        page = parameters[0]
        if page * 256 >= self.settings.slots:
            return 0x0B, b""
        shift = 1 if "index-shifted" in self.settings.quirks else 0
        bits = bytearray(PAGE_BYTES)
        for slot in self.flash.templates:
            at = slot + shift - 256 * page
            if 0 <= at < 256:
                bits[at // 8] |= 1 << at % 8
        return 0, bytes(bits)

    # ---- parameters and pages ----------------------------------------------------------------------------------------

    def _parameters(self) -> bytes:
        ram, flash, settings = self.ram, self.flash, self.settings
        if settings.hilink:
            first, second = flash.registers[1], settings.template_bytes
        else:
            first, second = 2 * ram.matched + 4 * ram.verified + 8 * ram.image, settings.system_id
        numbers = (first, second, settings.slots, flash.level)
        shared = flash.address + flash.packet_code.to_bytes(2, "big") + flash.speed_n.to_bytes(2, "big")
        return b"".join(number.to_bytes(2, "big") for number in numbers) + shared

    def _set_parameter(self, parameters: bytes) -> Answer:
        register, value = parameters
        if self.settings.hilink:
            limits = {number: (1 if number in (1, 4, 5) else 0, high) for number, high in REGISTERS_HILINK.items()}
        else:
            limits = {4: (1, 12), 5: (1, 5), 6: (0, 3)}
        if register not in limits:
            return 0x1A, b""
        low, high = limits[register]
        if not low <= value <= high or (register == 4 and self.settings.r50x and value not in R50X_SPEEDS):
            return 0x1B, b""
        if register == 7 and self.flash.encryption:
            return 0x31, b""  # section 4.2: it cannot be changed once set
        names = {4: "speed_n", 5: "level", 6: "packet_code", 7: "encryption"}
        if register in names:
            setattr(self.flash, names[register], value)
        else:
            self.flash.registers[register] = value
        self._on_flash_change()
        return 0, b""

    def _set_password(self, parameters: bytes) -> Answer:
        self.flash.password = bytes(parameters)
        self._on_flash_change()
        return 0, b""

    def _verify(self, parameters: bytes) -> Answer:
        self.ram.verified = parameters == self.flash.password
        return (0 if self.ram.verified else 0x13), b""

    def _set_address(self, parameters: bytes) -> Answer:
        """Section 3: the answer already carries the new address, as every answer does."""
        self.flash.address = bytes(parameters)
        self._on_flash_change()
        return 0, b""

    def _draw(self, _: bytes) -> Answer:
        return 0, self._random.randbytes(4)

    def _port(self, parameters: bytes) -> Answer:
        """Control: 0 turns the port off, until the power fails."""
        self.ram.stopped = parameters[0] == 0
        return 0, b""

    def _loader(self, _: bytes) -> Answer:
        """BurnCode: the firmware loader answers no command of ours."""
        self.ram.stopped = True
        return 0, b""

    def _write_page(self, parameters: bytes) -> Answer:
        if parameters[0] >= len(self.flash.notepad):
            return 0x1C, b""
        self.flash.notepad[parameters[0]] = bytes(parameters[1:])
        self._on_flash_change()
        return 0, b""

    def _read_page(self, parameters: bytes) -> Answer:
        pages = self.flash.notepad
        return (0, pages[parameters[0]]) if parameters[0] < len(pages) else (0x1C, b"")

    def _chip_serial(self, parameters: bytes) -> Answer:
        return (0, _text(self.settings.serial, 32)) if parameters == b"\0" else (0x1B, b"")

    def _product(self, _: bytes) -> Answer:
        """ReadProdInfo, section 3.4: 46 bytes."""
        texts, settings = self.settings.texts, self.settings
        hardware = [int(part) for part in texts.get("hardware", "1.0").split(".") if part.isdigit()]
        head = _text(texts.get("model_text", ""), 16) + _text(texts.get("batch_text", ""), 4)
        head += _text(settings.serial, 8) + bytes([*hardware, 0, 0][:2]) + _text(texts.get("sensor_text", ""), 8)
        sizes = (SENSOR_PIXELS, SENSOR_PIXELS, settings.template_bytes, settings.slots)
        return 0, head + b"".join(size.to_bytes(2, "big") for size in sizes)

    def _information(self) -> bytes:
        """Return the information page: section 4.2; on classic modules only its skeleton, unconfirmed (section 3.5)."""
        page = bytearray(INFO_BYTES)
        page[0:16] = self._parameters()
        texts = self.settings.texts
        if self.settings.hilink:
            registers = self.flash.registers
            numbers = (registers[8], registers[9], self.flash.encryption, registers[3], registers[2], registers[0])
            page[16:28] = b"".join(number.to_bytes(2, "big") for number in numbers)
        names = ("product_text", "software_text", "manufacturer_text", "sensor_text")
        page[28:60] = b"".join(_text(texts.get(name, ""), 8) for name in names)
        page[60:64] = self.flash.password
        page[126:128] = b"\x12\x34"
        return bytes(page)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _text(text: str, size: int) -> bytes:
    """Section 3.4: ASCII padded with 00."""
    return text.encode("ascii", "replace")[:size].ljust(size, b"\0")
