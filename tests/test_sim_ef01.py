"""The simulated 0xEF01 modules against the wire reference of the family; "section" and frame numbers are that one's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockmigrate.errors import TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import PRESETS, open_unit
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Device, Outgoing
from lockmigrate.transports.memory import MemoryLink

FACTORY = bytes.fromhex("ffffffff")
FAKE_HEADER = bytes.fromhex("ef01ffffffff")


def frame(content: str | bytes, *, kind: int = 1, address: bytes = FACTORY) -> bytes:
    """Build a frame by hand (section 2)."""
    body = bytes.fromhex(content) if isinstance(content, str) else content
    summed = bytes([kind]) + (len(body) + 2).to_bytes(2, "big") + body
    return b"\xef\x01" + address + summed + (sum(summed) % 65536).to_bytes(2, "big")


def worked(text: str) -> bytes:
    """Complete a worked frame that the reference prints from its address on."""
    return bytes.fromhex("EF 01 FF FF FF FF " + text)


class Bench:
    """A host at the other end of the wire, with a clock of its own."""

    def __init__(self, profile: str = "r503", preset: str = "full", state: Path | None = None, **options: str) -> None:
        self.unit: SimulatedUnit = open_unit(load_profile(profile), preset, options, state=state)
        self.now_s = 0.0
        self.cut = False
        self.device: Device = self.unit.device
        self.greeting = self._take(self.device.opened(0.0))

    def _take(self, outgoing: list[Outgoing]) -> bytes:
        for piece in outgoing:
            assert piece.at_s >= self.now_s - 1e-9, "time never runs backwards"
            self.now_s = max(self.now_s, piece.at_s)
            self.cut |= piece.hangup
        return b"".join(piece.data for piece in outgoing)

    def raw(self, data: bytes) -> bytes:
        """Send bytes now and wait for all that comes back."""
        return self._take(self.device.receive(data, self.now_s))

    def ask(self, content: str | bytes) -> bytes:
        """Send a command, return the content of the acknowledgement (and, after it, the bytes of what follows)."""
        answer = self.raw(frame(content))
        if not answer:
            return b""
        end = 9 + int.from_bytes(answer[7:9], "big")
        assert answer[:end] == frame(answer[9 : end - 2], kind=7, address=answer[2:6])
        return answer[9 : end - 2] + answer[end:]

    def packets(self, stream: bytes) -> list[tuple[int, bytes]]:
        """Cut data packets by their own lengths."""
        found = []
        while stream:
            size = int.from_bytes(stream[7:9], "big")
            piece, stream = stream[: 9 + size], stream[9 + size :]
            assert piece == frame(piece[9:-2], kind=piece[6], address=piece[2:6])
            found.append((piece[6], piece[9:-2]))
        return found

    def read_slot(self, slot: int, *, buffer: int = 1) -> bytes:
        """LoadChar and UpChar."""
        assert self.ask(bytes([7, buffer]) + slot.to_bytes(2, "big")) == b"\0"
        answer = self.ask(bytes([8, buffer]))
        assert answer[:1] == b"\0"
        return b"".join(content for _, content in self.packets(answer[1:]))

    def send_template(self, template: bytes, size: int = 128) -> bytes:
        """DownChar with its data packets; returns what the module said to them."""
        assert self.ask("0901") == b"\0"
        parts = [template[at : at + size] for at in range(0, len(template), size)]
        said = b""
        for index, part in enumerate(parts):
            said += self.raw(frame(part, kind=8 if index == len(parts) - 1 else 2))
        return said

    def store(self, slot: int) -> bytes:
        """Store from buffer 1."""
        return self.ask(b"\x06\x01" + slot.to_bytes(2, "big"))


# ---- section 8: the worked frames -----------------------------------------------------------------------------------

VERIFY = worked("01 00 07 13 00 00 00 00 00 1B")
DONE = worked("07 00 03 00 00 0A")


def test_the_bench_builds_the_worked_frames_of_the_reference() -> None:
    assert frame("13 00000000") == VERIFY
    assert frame("0C 0009 0001") == worked("01 00 07 0C 00 09 00 01 00 1E")
    assert frame(b"\xff" * 256, kind=2) == worked("02 01 02") + b"\xff" * 256 + b"\xff\x05"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("01 00 07 13 00 00 00 00 00 1B", "07 00 03 00 00 0A"),  # 1, 2
        ("01 00 07 13 00 00 00 00 00 1C", "07 00 03 01 00 0B"),  # 3: a wrong sum
        ("01 00 07 13 00 00 00 01 00 1C", "07 00 03 13 00 1D"),  # 4
        ("01 00 03 0F 00 13", "07 00 13 00 00 04 00 00 00 C8 00 03 FF FF FF FF 00 02 00 06 04 ED"),  # 7, 8
        ("01 00 03 1D 00 21", "07 00 05 00 00 14 00 20"),  # 11, 12
        ("01 00 06 07 01 00 09 00 18", "07 00 03 00 00 0A"),  # 15
        ("01 00 06 07 01 01 2B 00 3B", "07 00 03 0B 00 15"),  # 16: beyond 200 slots
        ("01 00 06 07 01 00 0A 00 19", "07 00 03 0C 00 16"),  # 6: an empty slot
        ("01 00 04 09 01 00 0F", "07 00 03 00 00 0A"),  # 18
        ("01 00 07 0C 00 09 00 01 00 1E", "07 00 03 00 00 0A"),  # 24
        ("01 00 03 0D 00 11", "07 00 03 00 00 0A"),  # 25
        ("01 00 05 0E 06 03 00 1D", "07 00 03 00 00 0A"),  # 26
        ("01 00 05 0E 04 0C 00 24", "07 00 03 00 00 0A"),  # 27
        ("01 00 05 0E 05 03 00 1C", "07 00 03 00 00 0A"),  # 28
        ("01 00 07 12 01 02 03 04 00 24", "07 00 03 00 00 0A"),  # 33
        ("01 00 03 40 00 44", "07 00 03 00 00 0A"),  # 42
        ("01 00 03 36 00 3A", "07 00 03 00 00 0A"),  # 44
        ("01 00 07 35 01 50 06 00 00 94", "07 00 03 00 00 0A"),  # 45
    ],
)
def test_an_r503_gives_the_worked_answer(asked: str, answered: str) -> None:
    bench = Bench(slots="200", fill="0")
    bench.unit.flash.templates.update({slot: bytes([slot]) * 1536 for slot in (*range(9), 9, *range(190, 200))})
    bench.raw(VERIFY)
    assert bench.raw(worked(asked)) == worked(answered)


def test_system_parameters_without_password_and_at_other_settings_are_the_captured_ones() -> None:
    adafruit = Bench(slots="80", baud="115200")
    assert adafruit.raw(frame("0F")) == worked("07 00 13 00 00 00 00 00 00 50 00 03 FF FF FF FF 00 02 00 0C 04 77")  # 9
    other = Bench(slots="300", system_id="9")
    other.raw(VERIFY)
    assert other.raw(frame("0F")) == worked("07 00 13 00 00 04 00 09 01 2C 00 03 FF FF FF FF 00 02 00 06 04 5B")  # 10


def test_the_index_has_the_worked_bits() -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates.update(dict.fromkeys((0, 1, 2, 9, 199), bytes(1536)))
    assert bench.raw(worked("01 00 04 1F 00 00 24")) == worked(
        "07 00 23 00 07 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80 00 00 00 "
        "00 00 00 00 00 B3"
    )
    assert bench.ask("1F01") == b"\x0b"


def test_a_template_goes_down_in_the_worked_frames_and_comes_up_again() -> None:
    bench = Bench(preset="empty", template_size="64", packet="32")
    assert bench.raw(worked("01 00 04 09 01 00 0F")) == DONE
    first = worked("02 00 22 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F") + bytes(range(16, 32)) + b"\x02\x14"
    last = worked("08 00 22") + bytes(range(32, 64)) + b"\x06\x1a"
    assert bench.raw(first) == b""
    assert bench.raw(last) == b""
    assert bench.raw(worked("01 00 06 06 01 00 09 00 17")) == DONE
    assert bench.unit.flash.templates == {9: bytes(range(64))}
    assert bench.raw(worked("01 00 06 07 01 00 09 00 18")) == DONE
    assert bench.raw(worked("01 00 04 08 01 00 0E")) == DONE + first + last


def test_notepad_pages_are_written_and_read_by_the_worked_frames() -> None:
    bench = Bench(preset="empty")
    data = bytes(range(32))
    assert bench.raw(worked("01 00 24 18 00") + data + b"\x02\x2d") == DONE
    assert bench.ask("1900") == b"\0" + data
    assert bench.raw(worked("01 00 04 19 0F 00 2D")) == frame(bytes(33), kind=7)
    assert bench.ask("1910") == b"\x1c"
    assert bench.ask(b"\x18\x10" + data) == b"\x1c"


def test_a_changed_address_counts_in_its_own_answer_already() -> None:
    bench = Bench()
    assert bench.raw(worked("01 00 07 15 12 34 56 78 01 31")) == bytes.fromhex("EF 01 12 34 56 78 07 00 03 00 00 0A")
    assert bench.raw(VERIFY) == b""
    assert bench.raw(frame("13 00000000", address=b"\x124Vx")) == frame(b"\0", kind=7, address=b"\x124Vx")
    assert bench.unit.credential == {"password": "00000000", "address": "12345678"}


def test_random_numbers_differ_but_repeat_with_the_seed() -> None:
    first, again, other = (Bench(seed=seed) for seed in ("3", "3", "4"))
    drawn = first.raw(worked("01 00 03 14 00 18"))
    assert len(drawn) == len(worked("07 00 07 00 DE AD BE EF 03 46"))
    assert again.ask("14") == drawn[9:-2]
    assert first.ask("14") != drawn[9:-2]
    assert other.ask("14") != drawn[9:-2]


def test_a_finger_on_the_sensor_is_found_in_its_slot() -> None:
    bench = Bench(finger="1")
    assert bench.ask("01") == b"\0"
    assert bench.ask("0201") == b"\0"
    assert bench.raw(worked("01 00 08 04 01 00 00 00 C8 00 D6")) == worked("07 00 07 00 00 01 00 60 00 6F")  # 37, 38
    assert bench.ask("04 01 0002 00C8") == bytes.fromhex("09 0000 0000")
    assert bench.ask("1B 01 0000 00C8") == bytes.fromhex("00 0001 0060")


def test_without_a_finger_there_is_no_image_and_nothing_is_found() -> None:
    bench = Bench(quirks="odd-search")
    assert bench.ask("01") == b"\x02"
    assert bench.ask("0201") == b"\x15"
    assert bench.raw(frame("04 01 0000 00C8")) == worked("07 00 07 09 01 EE 00 00 01 06")  # 39


def test_a_moved_template_is_found_where_it_was_moved_to() -> None:
    bench = Bench(preset="empty", finger="4")
    bench.send_template(Bench().unit.flash.templates[4])
    bench.store(77)
    bench.ask("01")
    bench.ask("0201")
    assert bench.ask("04 01 0000 00C8")[:3] == bytes.fromhex("00 004D")


def test_an_optical_module_echoes_with_55() -> None:
    assert Bench("zfm-20").raw(worked("01 00 03 53 00 57")) == worked("07 00 03 55 00 5F")  # 40, 41


def test_an_r503_tells_its_texts_and_sizes() -> None:
    bench = Bench()
    assert bench.ask("39") == b"\0" + b"SIM-ALG-R503-1".ljust(32, b"\0")
    assert bench.ask("3A") == b"\0" + b"SIM-FW-1.2".ljust(32, b"\0")
    told = bench.ask("3C")
    assert len(told) == 1 + 46
    assert told[1:17] == b"R503".ljust(16, b"\0")
    assert told[21:29].decode() == bench.unit.serial == "00000417"
    assert (int.from_bytes(told[43:45], "big"), int.from_bytes(told[45:47], "big")) == (1536, 200)


def test_a_soft_reset_answers_and_then_greets() -> None:
    bench = Bench()
    assert bench.raw(worked("01 00 03 3D 00 41")) == DONE + b"\x55"


def test_the_hilink_frames_are_answered() -> None:
    bench = Bench("hlk-zw101")
    told = bench.raw(worked("01 00 04 34 00 00 39"))  # 49
    assert told[6:9] == bytes.fromhex("07 0023")
    assert told[10:42].rstrip(b"\0").decode() == bench.unit.serial
    assert bench.raw(worked("01 00 03 35 00 39")) == DONE  # 50
    assert bench.raw(worked("01 00 07 3C 01 01 01 00 00 47")) == DONE  # 51


# ---- sections 4 and 5: the two dialects ------------------------------------------------------------------------------


def test_the_parameters_of_a_hilink_module_tell_its_template_size() -> None:
    bench = Bench("hlk-zw101", template_size="1024")
    told = bench.ask("0F")
    assert [int.from_bytes(told[at : at + 2], "big") for at in (1, 3, 5, 7, 13, 15)] == [5, 1024, 50, 18, 2, 6]


def test_hilink_templates_leave_through_buffer_2_and_enter_through_buffer_1() -> None:
    bench = Bench("hlk-zw111")
    template = bench.unit.flash.templates[3]
    assert bench.read_slot(3, buffer=2) == template
    assert bench.ask("07 01 0003") == b"\x35"
    assert bench.ask("0801") == b"\x0d"
    assert bench.ask("0902") == b"\x0e"
    bench.unit.flash.templates.clear()
    assert bench.send_template(template) == b""
    assert bench.store(7) == b"\0"
    assert bench.unit.flash.templates == {7: template}


def test_an_encrypted_hilink_module_moves_no_template() -> None:
    bench = Bench("hlk-zw101", encryption="1")
    assert bench.ask("07 02 0003") == b"\0"
    assert bench.ask("0802") == bench.ask("0901") == b"\x31"
    assert bench.store(1) != b"\x31"
    strict = Bench("hlk-zw101", encryption="3")
    assert strict.store(1) == strict.ask("03") == strict.ask("04 01 0000 0032") == b"\x31"


def test_the_hilink_information_page_has_the_table_of_the_reference() -> None:
    bench = Bench("hlk-zw101", encryption="2", firmware="FW-9")
    answer = bench.ask("16")
    packets = bench.packets(answer[1:])
    assert [(kind, len(content)) for kind, content in packets] == [(2, 128), (2, 128), (2, 128), (8, 128)]
    page = b"".join(content for _, content in packets)
    assert page[:16] == bench.ask("0F")[1:]
    assert int.from_bytes(page[20:22], "big") == 2
    assert (page[28:36], page[36:44], page[44:52], page[52:60]) == (
        b"ZW101\0\0\0",
        b"FW-9\0\0\0\0",
        b"SIM-HLK\0",
        b"80X64\0\0\0",
    )
    assert page[60:64] == bytes(4)
    assert page[126:128] == b"\x12\x34"


@pytest.mark.parametrize("wrong", ["3B", "E0"])
def test_a_wrong_probe_really_wipes_a_hilink_module(wrong: str) -> None:
    bench = Bench("hlk-zw101")
    assert len(bench.unit.flash.templates) == 50
    assert bench.ask(wrong) == b"\0"
    assert bench.unit.flash.templates == {}


@pytest.mark.parametrize("code", ["3C", "39", "3A", "3B", "E0", "34 00"])
def test_a_module_without_extras_knows_none_of_the_codes_above(code: str) -> None:
    bench = Bench("as608", slots="4")
    assert bench.ask(code) == b"\x01"
    assert bench.unit.serial is None
    assert Bench("as608", slots="4", quirks="silent-unknown").ask(code) == b""


def test_an_r503_calls_an_unknown_command_fc() -> None:
    assert Bench().ask("E0") == b"\xfc"


# ---- section 9: what a module must do --------------------------------------------------------------------------------


def test_a_module_finds_a_frame_behind_noise_and_half_frames() -> None:
    bench = Bench()
    assert bench.raw(b"\x55\xef\xef\x00\x01" + VERIFY) == DONE
    assert bench.raw(b"\xef\x01\xff\xff\xff\xff\x01\xff\xff" + VERIFY) == DONE  # LEN beyond 258
    assert bench.raw(VERIFY[:-1]) == b""
    assert bench.raw(VERIFY[-1:]) == DONE


def test_half_a_frame_is_forgotten_after_a_second_of_silence() -> None:
    bench = Bench()
    assert bench.raw(VERIFY[:-1]) == b""
    bench.now_s += 1.1
    assert bench.raw(VERIFY[-1:] + VERIFY) == DONE


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.binary(max_size=30))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int], noise: bytes) -> None:
    commands = [frame(content) for content in ("0F", "07 01 0001", "0801", "1F00")]
    conversation = noise.replace(b"\xef", b"") + VERIFY + b"".join(commands)
    whole, cut = Bench(slots="8"), Bench(slots="8")
    answers, at = b"", 0
    for size in [*sizes, len(conversation)]:
        answers += cut.raw(conversation[at : at + size])
        at += size
    assert answers == whole.raw(conversation)
    assert cut.unit.log == [0x13, 0x0F, 0x07, 0x08, 0x1F]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 7, 8]), st.binary(min_size=1, max_size=40)), max_size=20))
def test_no_frame_whatever_brings_a_module_down(frames: list[tuple[int, bytes]]) -> None:
    for profile in ("r503", "zfm-20", "hlk-zw101"):
        bench = Bench(profile, slots="8")
        for kind, content in frames:
            bench.raw(frame(content, kind=kind))
        assert bench.device.receive(b"", bench.now_s) == []


@pytest.mark.parametrize("at", range(6, len(VERIFY)))
def test_a_flipped_bit_in_a_command_is_never_obeyed(at: int) -> None:
    bench = Bench()
    damaged = bytearray(VERIFY)
    damaged[at] ^= 0x01
    answer = bench.raw(bytes(damaged))
    assert answer in (b"", worked("07 00 03 01 00 0B"))
    assert bench.unit.log == []


def test_nothing_but_the_password_is_answered_until_it_was_given() -> None:
    bench = Bench(password="01020304")
    for command in ("0F", "1D", "1F00", "07 01 0000", "0801", "0D", "14", "3C"):
        assert bench.ask(command) == b"\x21", command
    assert bench.ask("40") == b"\0"
    assert bench.ask("13 00000000") == b"\x13"
    assert bench.ask("13 01020304") == b"\0"
    assert bench.ask("1D") == bytes.fromhex("00 00C8")
    assert bench.unit.credential == {"password": "01020304", "address": "ffffffff"}


def test_the_password_is_forgotten_without_power() -> None:
    bench = Bench(password="01020304", reboot="in:frame:2")
    assert bench.ask("13 01020304") == b"\0"
    assert bench.ask("1D") == b""
    bench.now_s += 1.0
    assert bench.ask("1D") == b"\x21"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("08 01", 0x0D),  # an empty buffer
        ("06 01 00C8", 0x0B),
        ("07 01 00C8", 0x0B),
        ("0C 00C7 0002", 0x10),
        ("0E 0700", 0x1A),
        ("0E 0500", 0x1B),
        ("0E 0604", 0x1B),
        ("0E 0403", 0x1B),  # an R503 does not take N = 3
        ("06 01", 0x01),  # parameters missing
    ],
)
def test_what_cannot_be_done_is_answered_with_its_code(command: str, code: int) -> None:
    bench = Bench()
    before = bench.unit.image()
    assert bench.ask(command) == bytes([code])
    assert bench.unit.image() == before


def test_a_good_transfer_ends_in_silence() -> None:
    bench = Bench(preset="empty")
    template = Bench().unit.flash.templates[5]
    assert bench.send_template(template) == b""
    assert bench.store(5) == b"\0"
    assert bench.read_slot(5) == template


@pytest.mark.parametrize("number", [1, 7, 12])
def test_a_damaged_packet_gives_one_unsolicited_01_and_a_careless_store_keeps_the_damage(number: int) -> None:
    bench = Bench(preset="empty", flip=f"in:frame:{number + 1}")
    template = Bench().unit.flash.templates[5]
    assert bench.send_template(template) == frame(b"\x01", kind=7)
    assert bench.store(5) == b"\0"
    assert bench.unit.flash.templates[5] != template
    assert bench.send_template(template) == b""
    assert bench.store(5) == b"\0"
    assert bench.unit.flash.templates[5] == template


def test_a_command_ends_a_transfer() -> None:
    bench = Bench(preset="empty", template_size="512")
    assert bench.ask("0901") == b"\0"
    assert bench.raw(frame(b"\x07" * 128, kind=2)) == b""
    assert bench.ask("1D") == bytes(3)
    assert bench.raw(frame(b"\x07" * 128, kind=8)) == b""
    assert bench.store(0) == b"\0"
    assert bench.unit.flash.templates[0] == b"\x07" * 128 + bytes(384)


def test_packets_longer_than_the_setting_are_refused() -> None:
    bench = Bench(preset="empty", template_size="512")
    assert bench.send_template(b"\x07" * 512, size=256) == frame(b"\x01", kind=7)
    assert bench.ask("0E 0603") == b"\0"
    assert bench.send_template(b"\x07" * 512, size=256) == b""


def test_a_template_that_is_no_multiple_of_the_packet_ends_in_a_short_packet() -> None:
    bench = Bench("r307", slots="4", template_size="810")
    assert bench.ask("07 01 0001") == b"\0"
    packets = bench.packets(bench.ask("0801")[1:])
    assert [(kind, len(content)) for kind, content in packets] == [(2, 128)] * 6 + [(8, 42)]
    assert b"".join(content for _, content in packets) == bench.unit.flash.templates[1]


@pytest.mark.parametrize("packet", ["32", "64", "128", "256"])
def test_fake_headers_survive_both_ways_at_every_packet_size(packet: str) -> None:
    old, new = Bench(packet=packet), Bench(preset="empty", packet=packet)
    template = old.read_slot(5)
    assert template.count(FAKE_HEADER) == 2
    assert new.send_template(template, int(packet)) == b""
    assert new.store(5) == b"\0"
    assert new.unit.flash.templates[5] == template


def test_a_full_unit_holds_a_few_fake_headers_and_the_option_all_or_none() -> None:
    counts = [
        sum(FAKE_HEADER in template for template in bench.unit.flash.templates.values())
        for bench in (Bench(), Bench(headers="0"), Bench(headers="1"))
    ]
    assert counts == [25, 0, 200]


def test_two_buffers_are_one_and_the_rest() -> None:
    bench = Bench("zfm-20", slots="4")
    assert bench.ask("07 05 0002") == b"\0"
    assert bench.ask("0801") == b"\x0d"
    assert bench.ask("0802")[:1] == b"\0"


def test_a_refused_load_leaves_the_buffer_as_it_was() -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates[3] = bytes(1536)
    assert bench.read_slot(3) == bytes(1536)
    assert bench.ask("07 01 0004") == b"\x0c"
    assert bench.ask("0801")[:1] == b"\0"


def test_the_speed_changes_after_the_answer_and_on_an_r503_with_the_power() -> None:
    optical = Bench("zfm-20")
    optical.device.set_host_baud(57600)
    assert optical.ask("0E 040C") == b"\0"
    assert optical.ask("1D") == b""
    optical.device.set_host_baud(115200)
    assert optical.ask("1D")[:1] == b"\0"
    round_one = Bench()
    round_one.device.set_host_baud(57600)
    assert round_one.ask("0E 040C") == b"\0"
    assert round_one.ask("3D") == b"\0"  # the greeting comes at the new speed: noise
    round_one.now_s += 1.0
    assert round_one.ask("1D") == b""
    round_one.device.set_host_baud(115200)
    assert round_one.ask("1D") == bytes.fromhex("00 00C8")


def test_a_memory_link_carries_a_conversation() -> None:
    unit = open_unit(load_profile("r503"), "full", {"baud": "115200", "delay": "out:frame:1:0.01"})

    async def scenario() -> bytes:
        link = MemoryLink.open(unit.device, baud=57600)
        await link.write(VERIFY)
        await link.set_baud(115200)
        await link.write(VERIFY)
        answer = await link.read()
        await link.close()
        return answer

    assert asyncio.run(scenario()) == DONE
    assert unit.log == [0x13]


def test_a_host_at_another_speed_hears_nothing() -> None:
    bench = Bench(baud="115200")
    bench.device.set_host_baud(57600)
    assert bench.raw(VERIFY) == b""
    bench.device.set_host_baud(115200)
    assert bench.raw(VERIFY) == DONE


def test_the_power_on_byte_comes_when_asked_for_and_once() -> None:
    assert Bench().greeting == b""
    bench = Bench(boot55="1")
    assert bench.greeting == b"\x55"
    assert bench.now_s == pytest.approx(0.05)
    bench.device.closed()
    assert bench.device.opened(9.0) == []


def test_deleting_frees_exactly_the_slots_named() -> None:
    bench = Bench(slots="20")
    assert bench.ask("0C 0003 0004") == b"\0"
    assert sorted(bench.unit.flash.templates) == [0, 1, 2, *range(7, 20)]


def test_control_off_and_the_firmware_loader_make_it_deaf_until_the_power_fails() -> None:
    for never in ("17 00", "1A 01"):
        bench = Bench()
        bench.ask(never)
        assert bench.ask("1D") == b""


# ---- section 10: the wire limit, half duplex, slow flash -------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "packet", "wire_bytes"),
    [(512, 32, 740), (512, 128, 608), (512, 256, 586), (768, 128, 886), (1536, 64, 1852), (1536, 128, 1720)],
)
@pytest.mark.parametrize("baud", [9600, 57600, 115200])
def test_a_paced_slot_takes_exactly_the_time_of_its_bytes(size: int, packet: int, wire_bytes: int, baud: int) -> None:
    bench = Bench(template_size=str(size), packet=str(packet), baud=str(baud), pace="1")
    bench.read_slot(9)
    assert bench.unit.wire_bytes_in + bench.unit.wire_bytes_out == wire_bytes
    assert bench.now_s == pytest.approx(wire_bytes * 10 / baud, abs=1e-9)


def test_writing_a_paced_slot_takes_as_long_as_reading_it() -> None:
    bench = Bench(preset="empty", pace="1")
    template = Bench().unit.flash.templates[1]
    bench.ask("0901")
    for at in range(0, 1536, 128):
        # All written at once by an eager host: the line takes its time.
        assert bench.raw(frame(template[at : at + 128], kind=8 if at == 1408 else 2)) == b""
    assert bench.store(1) == b"\0"
    assert bench.now_s == pytest.approx(1720 * 10 / 57600, abs=1e-9)
    assert bench.unit.flash.templates[1] == template


def test_bytes_that_arrive_during_an_answer_are_lost() -> None:
    bench = Bench(pace="1")
    assert bench.raw(VERIFY + frame("1D")) == DONE
    assert bench.unit.log == [0x13]
    eager = Bench(pace="1")
    sent = eager.device.receive(VERIFY, 0.0)
    assert eager.device.receive(VERIFY, sent[-1].at_s - 0.001) == []
    assert eager.device.receive(VERIFY, sent[-1].at_s + 0.01) != []


def test_a_slow_flash_answers_late_and_hears_nothing_meanwhile() -> None:
    bench = Bench(flash="slow")
    for command, seconds in (("07 01 0000", 0.04), ("06 01 0000", 0.12), ("0D", 1.0), ("1D", 0.0)):
        before_s = bench.now_s
        assert bench.ask(command)[:1] == b"\0"
        assert bench.now_s - before_s == pytest.approx(seconds)
    answer = bench.device.receive(frame("0D"), bench.now_s)
    assert bench.device.receive(VERIFY, bench.now_s + 0.5) == []
    assert bench.device.receive(VERIFY, answer[0].at_s) != []


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_lost_once() -> None:
    bench = Bench(lose="out:frame:2,out:frame:4")
    assert [bench.raw(VERIFY) for _ in range(5)] == [DONE, b"", DONE, b"", DONE]


def test_a_lost_command_is_not_heard() -> None:
    bench = Bench(lose="in:frame:1")
    assert bench.ask("0D") == b""
    assert len(bench.unit.flash.templates) == 200
    assert bench.ask("0D") == b"\0"


def test_a_lost_byte_is_missing_from_the_answer() -> None:
    assert Bench(lose="out:byte:3").raw(VERIFY) == DONE[:2] + DONE[3:]
    assert Bench(lose="in:byte:16").raw(VERIFY) == b""


def test_a_late_answer_is_late() -> None:
    bench = Bench(delay="out:frame:2:1.5")
    bench.raw(VERIFY)
    assert bench.now_s == 0.0
    assert bench.raw(VERIFY) == DONE
    assert bench.now_s == 1.5


def test_a_late_answer_to_an_impatient_host_comes_beside_the_second_one() -> None:
    bench = Bench(delay="out:frame:1:1.5")
    late = bench.device.receive(VERIFY, 0.0)
    again = bench.device.receive(VERIFY, 1.0)
    assert [piece.at_s for piece in late + again] == [1.5, 1.5]


def test_a_module_that_was_kept_busy_answers_only_once() -> None:
    bench = Bench(delay="in:frame:1:1.5")
    assert [piece.at_s for piece in bench.device.receive(VERIFY, 0.0)] == [1.5]
    assert bench.device.receive(VERIFY, 1.0) == []


def test_a_flip_damages_exactly_one_bit() -> None:
    whole = Bench(seed="2").raw(VERIFY + frame("07 01 0000") + frame("0801"))
    for fault in ("out:byte:1000", "out:frame:7"):
        damaged = Bench(seed="2", flip=fault).raw(VERIFY + frame("07 01 0000") + frame("0801"))
        changed = [at for at, pair in enumerate(zip(whole, damaged, strict=True)) if pair[0] != pair[1]]
        assert len(changed) == 1
        assert (whole[changed[0]] ^ damaged[changed[0]]).bit_count() == 1
        assert fault != "out:byte:1000" or changed == [999]


@pytest.mark.parametrize(
    ("cut", "heard"),
    [
        ("out:byte:300", 300),
        ("out:byte:12", 12),
        ("out:frame:4", 3 * 12 + 69),  # the middle of the first data packet
        ("in:byte:30", 12),
        ("in:frame:3", 2 * 12),
    ],
)
def test_a_cut_line_is_dead_until_it_is_plugged_in_again(cut: str, heard: int) -> None:
    bench = Bench(cut=cut)
    got = b""
    for command in ("13 00000000", "07 01 0000", "0801"):
        got += bench.raw(frame(command))
    assert bench.cut
    assert len(got) == heard
    assert bench.raw(VERIFY) == b""
    bench.device.closed()
    bench.device.opened(bench.now_s)
    assert bench.raw(VERIFY) == DONE


def test_a_reboot_loses_the_buffer_and_keeps_the_library() -> None:
    bench = Bench(reboot="in:frame:15")
    before = bench.unit.image()
    bench.send_template(bytes(1536))
    assert bench.ask("1D") == bytes.fromhex("00 00C8")
    assert bench.store(4) == b""
    assert bench.store(4) == b""  # it is starting
    bench.now_s += 0.1
    assert bench.store(4) == b"\x18"
    assert bench.unit.image() == before


def test_a_reboot_in_the_middle_of_an_answer_stops_it() -> None:
    bench = Bench(reboot="out:byte:500", boot55="1")
    bench.now_s += 1.0
    bench.ask("07 01 0000")
    assert len(bench.raw(frame("0801"))) == 500 - 1 - 12 + 1
    bench.now_s += 1.0
    assert bench.ask("0801") == b"\x0d"


# ---- awkward firmware ------------------------------------------------------------------------------------------------


def test_awkward_firmware_does_what_its_quirk_says() -> None:
    assert Bench("zfm-20", quirks="no-index").ask("1F00") == b"\x01"
    assert Bench(quirks="count-zero").ask("1D") == bytes(3)
    assert Bench("zfm-20", quirks="no-sysparams").ask("0F") == b"\x01"
    without = Bench(quirks="no-prodinfo")
    assert [without.ask(code) for code in ("39", "3A", "3C")] == [b"\xfc"] * 3
    assert without.unit.serial is None
    no_algorithm = Bench(quirks="no-algver")
    assert (no_algorithm.ask("39"), len(no_algorithm.ask("3C"))) == (b"\xfc", 47)
    shifted = Bench(preset="empty", quirks="index-shifted")
    shifted.unit.flash.templates[7] = bytes(1536)
    assert shifted.ask("1F00")[1:3] == b"\x00\x01"


def test_a_slot_that_cannot_be_stored_says_so_as_often_as_asked() -> None:
    bench = Bench(quirks="store-fails:7:2,store-fails:8")
    bench.read_slot(1)
    assert [bench.store(7) for _ in range(3)] == [b"\x18", b"\x18", b"\0"]
    assert [bench.store(8) for _ in range(3)] == [b"\x18"] * 3


def test_a_silently_damaged_copy_shows_only_when_it_is_read_back() -> None:
    bench = Bench(quirks="readback-differs:12:2")
    template = bench.read_slot(1)
    copies = []
    for _ in range(3):
        assert bench.send_template(template) == b""
        assert bench.store(12) == b"\0"
        copies.append(bench.read_slot(12) == template)
    assert copies == [False, False, True]


def test_a_torn_store_leaves_a_slot_that_is_listed_and_unreadable_until_written_again() -> None:
    bench = Bench(quirks="torn-store:9")
    template = bench.read_slot(1)
    assert bench.store(9) == b""
    bench.now_s += 1.0
    assert bench.ask("07 01 0009") == b"\x0c"
    assert bench.ask("1F00")[2] & 0x02
    assert bench.send_template(template) == b""
    assert bench.store(9) == b"\0"
    assert bench.read_slot(9) == template


def test_an_unreadable_slot_is_listed() -> None:
    bench = Bench(quirks="unreadable:3")
    assert bench.ask("07 01 0003") == b"\x0c"
    assert bench.ask("1F00")[1] == 0xFF


# ---- presets, seeds, state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "profile", ["r503", "r502-a", "as608", "r307", "r307-768", "fpm10a", "zfm-20", "hlk-zw101", "hlk-zw111", "ef01"]
)
def test_every_model_has_its_presets(profile: str) -> None:
    counts = {preset: len(Bench(profile, preset).unit.flash.templates) for preset in PRESETS}
    slots = int.from_bytes(Bench(profile).ask("0F")[5:7], "big")
    assert counts == {"full": slots, "half": slots // 2, "empty": 0, "huge": 1000}


def test_huge_is_a_thousand_slots_of_1536_bytes() -> None:
    bench = Bench("as608", "huge")
    assert {len(template) for template in bench.unit.flash.templates.values()} == {1536}
    index = b"".join(bench.ask(bytes([0x1F, page]))[1:] for page in range(4))
    assert sum(byte.bit_count() for byte in index) == 1000
    assert index[125:] == bytes(3)


def test_the_same_seed_gives_the_same_unit_and_another_gives_other_fingers() -> None:
    first, again, other = (Bench(preset="half", seed=seed).unit for seed in ("7", "7", "8"))
    assert first.image() == again.image()
    assert first.serial == again.serial != other.serial
    assert not set(first.flash.templates.values()) & set(other.flash.templates.values())


def test_no_two_templates_are_equal_and_presets_are_different_units() -> None:
    templates = Bench("r307").unit.flash.templates
    assert len(set(templates.values())) == len(templates) == 1000
    assert len({Bench(preset=preset).unit.serial for preset in PRESETS}) == len(PRESETS)


def test_a_unit_takes_slots_size_and_firmware_for_a_rehearsal() -> None:
    bench = Bench(preset="empty", slots="80", template_size="768", firmware="FW-7", algorithm="ALG-2")
    assert int.from_bytes(bench.ask("0F")[5:7], "big") == 80
    assert bench.ask("3A")[1:].rstrip(b"\0") == b"FW-7"
    assert bench.ask("39")[1:].rstrip(b"\0") == b"ALG-2"
    assert bench.send_template(bytes(range(256)) * 3) == b""
    assert bench.store(79) == b"\0"
    assert bench.read_slot(79) == bytes(range(256)) * 3


def test_a_down_then_up_in_ram_shows_the_units_own_template_size_and_touches_no_flash() -> None:
    bench = Bench(preset="empty", template_size="512")
    before = bench.unit.image()
    assert bench.send_template(b"\x11" * 768) == b""
    packets = bench.packets(bench.ask("0801")[1:])
    assert sum(len(content) for _, content in packets) == 512
    assert bench.unit.image() == before


def test_fill_and_notepad_can_be_chosen() -> None:
    assert len(Bench(slots="20", fill="5").unit.flash.templates) == 5
    for kind, written in (("empty", 0), ("paired", 2), ("full", 16)):
        assert sum(page != bytes(32) for page in Bench(notepad=kind).unit.flash.notepad) == written
    assert Bench(preset="empty").unit.flash.notepad_image() == bytes(512)


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "unit.state"
    first = Bench(preset="empty", state=path, slots="20", template_size="512")
    first.send_template(bytes(range(256)) * 2)
    first.store(3)
    first.ask(b"\x18\x02" + b"n" * 32)
    first.ask("12 01020304")
    first.ask("0E 0505")
    second = Bench(preset="full", state=path)
    assert second.unit.image() == first.unit.image()
    assert second.unit.serial == first.unit.serial
    assert second.ask("1D") == b"\x21"
    assert second.ask("13 01020304") == b"\0"
    assert second.ask("1D") == bytes.fromhex("00 0001")
    assert second.read_slot(3) == bytes(range(256)) * 2


def test_what_is_in_the_state_file_is_there_before_the_answer_leaves(tmp_path: Path) -> None:
    path = tmp_path / "unit.state"
    bench = Bench(state=path, slots="4", lose="out:frame:1")
    bench.ask("0D")
    assert Bench(state=path).unit.flash.templates == {}


def test_a_damaged_or_foreign_state_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unit.state"
    Bench(preset="half", state=path, slots="4")
    whole = path.read_bytes()
    with pytest.raises(TargetError, match='simulated "r503"'):
        Bench("as608", state=path)
    for damaged in (b"", whole[:-1], whole[:40] + b"?" + whole[41:], whole[:-1] + b"?"):
        path.write_bytes(damaged)
        with pytest.raises(TargetError, match="not the state"):
            Bench(state=path)


def test_options_are_checked() -> None:
    for options, named in (
        ({"sed": "7"}, 'did you mean "seed"?'),
        ({"slots": "many"}, None),
        ({"fill": "201"}, None),
        ({"password": "12"}, None),
        ({"quirks": "no-indx"}, 'did you mean "no-index"?'),
        ({"quirks": "store-fails"}, "write it as store-fails:SLOT or store-fails:SLOT:TIMES"),
        ({"cut": "out:frame"}, "write it like cut=out:frame:12 or in:byte:300"),
        ({"delay": "out:frame:1"}, "write it like delay=out:frame:2:1.5 or in:byte:300"),
        ({"packet": "100"}, None),
        ({"encryption": "1"}, None),
        ({"baud": "57601"}, None),
    ):
        with pytest.raises(TargetError) as caught:
            open_unit(load_profile("r503"), "full", options)
        assert named is None or caught.value.hint == named, options
    with pytest.raises(TargetError) as caught:
        open_unit(load_profile("r503"), "ful")
    assert caught.value.hint == 'did you mean "full"?'
