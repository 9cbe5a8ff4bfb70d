"""The simulated GT-511 and GT-521 modules against the wire reference of the family; headings are that one's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockmigrate.errors import FileTrouble, TargetError
from lockmigrate.profiles import load_profile
from lockmigrate.sim import PRESETS, open_unit, stand_in_options
from lockmigrate.sim.unit import SimulatedUnit
from lockmigrate.transports import Device, Outgoing
from lockmigrate.transports.memory import MemoryLink

ACK, NACK = 0x30, 0x31
COUNTED_SERIAL = "000102030405060708090a0b0c0d0e0f"


def summed(packet: bytes) -> bytes:
    """Append the checksum (Packets)."""
    return packet + (sum(packet) % 65536).to_bytes(2, "little")


def command(code: int, parameter: int = 0) -> bytes:
    """Build a command by hand; an answer has the same shape."""
    return summed(b"\x55\xaa\x01\x00" + parameter.to_bytes(4, "little") + code.to_bytes(2, "little"))


def data(content: bytes) -> bytes:
    """Build a data packet by hand."""
    return summed(b"\x5a\xa5\x01\x00" + content)


DONE = command(ACK)
WORKED_TEMPLATE = bytes((7 * i + 1) % 256 for i in range(498))


class Bench:
    """A host at the other end of the wire, with a clock of its own."""

    def __init__(
        self, profile: str = "gt-511c3", preset: str = "full", state: Path | None = None, **options: str
    ) -> None:
        self.unit: SimulatedUnit = open_unit(load_profile(profile), preset, options, state=state)
        self.now_s = 0.0
        self.cut = False
        self.device: Device = self.unit.device
        self._take(self.device.opened(0.0))

    def _take(self, outgoing: list[Outgoing]) -> bytes:
        for piece in outgoing:
            assert piece.at_s >= self.now_s - 1e-9, "time never runs backwards"
            self.now_s = max(self.now_s, piece.at_s)
            self.cut |= piece.hangup
        return b"".join(piece.data for piece in outgoing)

    def raw(self, sent: bytes) -> bytes:
        """Send bytes now and wait for all that comes back."""
        return self._take(self.device.receive(sent, self.now_s))

    def ask(self, code: int, parameter: int = 0) -> tuple[int, int]:
        """Send a command whose answer is twelve bytes; return ACK or NACK, and the parameter."""
        answer = self.raw(command(code, parameter))
        told = int.from_bytes(answer[8:10], "little"), int.from_bytes(answer[4:8], "little")
        assert answer == command(*told)
        return told

    def fetch(self, code: int, parameter: int = 0) -> bytes:
        """Send a command that is answered with data; return the data."""
        answer = self.raw(command(code, parameter))
        assert answer[:12] == DONE
        assert answer[12:] == data(answer[16:-2])
        return answer[16:-2]

    def write(self, number: int, template: bytes, *, skip: int = 1) -> tuple[int, int]:
        """SetTemplate; return the second answer, or the first where that is a NACK."""
        first = self.ask(0x71, number | skip << 16)
        if first[0] == NACK:
            return first
        answer = self.raw(data(template))
        return int.from_bytes(answer[8:10], "little"), int.from_bytes(answer[4:8], "little")


# ---- Worked frames ---------------------------------------------------------------------------------------------------


def hexes(text: str) -> bytes:
    return bytes.fromhex(text)


def test_the_bench_builds_the_worked_frames_of_the_reference() -> None:
    assert command(0x01, 1) == hexes("55 AA 01 00 01 00 00 00 01 00 02 01")
    assert command(0x22, 0xFFFFFFFF) == hexes("55 AA 01 00 FF FF FF FF 22 00 1E 05")
    packet = data(WORKED_TEMPLATE)
    assert (len(packet), packet[:8], packet[-2:]) == (504, hexes("5A A5 01 00 01 08 0F 16"), hexes("D1 F4"))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("55 AA 01 00 01 00 00 00 12 00 13 01", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # LED on
        ("55 AA 01 00 00 C2 01 00 04 00 C7 01", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # 115200 baud
        ("55 AA 01 00 00 00 00 00 20 00 20 01", "55 AA 01 00 03 00 00 00 30 00 33 01"),  # count, answer 3
        ("55 AA 01 00 07 00 00 00 21 00 28 01", "55 AA 01 00 04 10 00 00 31 00 45 01"),  # CheckEnrolled 7, not used
        ("55 AA 01 00 FF FF FF FF 22 00 1E 05", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # EnrollStart -1
        ("55 AA 01 00 07 00 00 00 40 00 47 01", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # DeleteID 7
        ("55 AA 01 00 07 00 00 00 71 00 78 01", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # SetTemplate 7
        ("55 AA 01 00 07 00 01 00 71 00 79 01", "55 AA 01 00 00 00 00 00 30 00 30 01"),  # without duplicate check
    ],
)
def test_a_module_gives_the_worked_answer(asked: str, answered: str) -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates.update({number: bytes([number]) * 498 for number in (0, 4, 199)})
    assert bench.raw(hexes(asked)) == hexes(answered)


def test_open_tells_the_worked_device_info() -> None:
    bench = Bench(serial=COUNTED_SERIAL, firmware="20130410")
    assert bench.raw(hexes("55 AA 01 00 01 00 00 00 01 00 02 01")) == DONE + hexes(
        "5A A5 01 00 10 04 13 20 00 00 00 00 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F BF 01"
    )
    assert bench.unit.serial == COUNTED_SERIAL
    assert bench.raw(command(0x01, 0)) == DONE
    assert bench.ask(0x01, 2) == (NACK, 0x1011)
    assert Bench(iso="70000").fetch(0x01, 1)[4:8] == (70000).to_bytes(4, "little")


def test_a_template_comes_up_in_the_worked_frames() -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates[7] = WORKED_TEMPLATE
    answer = bench.raw(hexes("55 AA 01 00 07 00 00 00 70 00 77 01"))
    assert answer[:12] == hexes("55 AA 01 00 00 00 00 00 30 00 30 01")
    assert answer[12:] == data(WORKED_TEMPLATE)


def test_a_template_goes_down_in_the_worked_frames() -> None:
    bench = Bench(preset="empty")
    assert bench.raw(hexes("55 AA 01 00 07 00 01 00 71 00 79 01")) == DONE
    assert bench.raw(data(WORKED_TEMPLATE)) == DONE
    assert bench.unit.flash.templates == {7: WORKED_TEMPLATE}


def test_the_worked_nacks_follow_a_duplicate_and_a_wrong_sum() -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates[4] = WORKED_TEMPLATE
    assert bench.raw(hexes("55 AA 01 00 07 00 00 00 71 00 78 01")) == DONE
    assert bench.raw(data(WORKED_TEMPLATE)) == hexes("55 AA 01 00 04 00 00 00 31 00 35 01")
    assert bench.raw(hexes("55 AA 01 00 07 00 01 00 71 00 79 01")) == DONE
    assert bench.raw(data(WORKED_TEMPLATE)[:-1] + b"\0") == hexes("55 AA 01 00 06 10 00 00 31 00 47 01")
    assert bench.unit.flash.templates == {4: WORKED_TEMPLATE}


# ---- Packets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(12))
def test_a_flipped_bit_in_a_command_is_answered_1006_and_never_obeyed(at: int) -> None:
    bench = Bench()
    wrong = bytearray(command(0x41))
    wrong[at] ^= 0x04
    assert bench.raw(bytes(wrong)) == command(NACK, 0x1006)
    assert len(bench.unit.flash.templates) == 200
    assert bench.unit.log == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int]) -> None:
    conversation = (
        command(0x01, 1) + command(0x70, 3) + command(0x71, 5 | 1 << 16) + data(WORKED_TEMPLATE) + command(0x20)
    )
    whole, cut = Bench(slots="8"), Bench(slots="8")
    answers, at = b"", 0
    for size in [*sizes, len(conversation)]:
        answers += cut.raw(conversation[at : at + size])
        at += size
    assert answers == whole.raw(conversation)
    assert cut.unit.log == [0x01, 0x70, 0x71, 0x20]
    assert cut.unit.flash.templates[5] == WORKED_TEMPLATE


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=20))
def test_no_command_whatever_brings_a_module_down(sent: list[tuple[int, int, bytes]]) -> None:
    bench = Bench(slots="8", finger="3")
    for code, parameter, noise in sent:
        bench.raw(command(code, parameter % 9 if parameter % 2 else parameter) + noise)
    assert bench.device.receive(b"", bench.now_s) == []


def test_half_a_command_is_forgotten_after_a_second_of_silence() -> None:
    bench = Bench(preset="empty")
    assert bench.raw(command(0x20)[:7]) == b""
    bench.now_s += 0.5
    assert bench.raw(command(0x20)[7:]) == DONE
    assert bench.raw(command(0x20)[:7]) == b""
    bench.now_s += 1.0
    assert bench.raw(command(0x20)) == DONE


def test_data_that_never_comes_is_forgotten_too() -> None:
    bench = Bench(preset="empty")
    assert bench.ask(0x71, 1 << 16) == (ACK, 0)
    assert bench.raw(data(WORKED_TEMPLATE)[:400]) == b""
    bench.now_s += 1.0
    assert bench.ask(0x20) == (ACK, 0)
    assert bench.unit.flash.templates == {}


def test_data_after_a_first_nack_is_taken_for_42_commands() -> None:
    bench = Bench()
    assert bench.ask(0x71, 200 | 1 << 16) == (NACK, 0x1003)
    assert bench.raw(data(bytes(498))) == command(NACK, 0x1006) * 42
    assert bench.ask(0x20) == (ACK, 200)


def test_data_after_a_first_nack_is_passed_over_by_a_module_that_looks_for_a_start() -> None:
    bench = Bench(garbage="silent")
    assert bench.ask(0x71, 200 | 1 << 16) == (NACK, 0x1003)
    assert bench.raw(data(bytes(498))) == b""
    assert bench.ask(0x20) == (ACK, 200)


def test_a_start_that_comes_in_two_pieces_is_found() -> None:
    bench = Bench(garbage="silent")
    assert bench.raw(b"\x55\x00\x55") == b""
    assert bench.raw(command(0x20)[1:]) == command(ACK, 200)


def test_a_port_that_is_opened_again_begins_with_a_command() -> None:
    bench = Bench()
    assert bench.ask(0x71, 1 << 16) == (ACK, 0)
    assert bench.raw(data(WORKED_TEMPLATE)[:100]) == b""
    bench.device.closed()
    bench.device.opened(bench.now_s)
    assert bench.ask(0x20) == (ACK, 200)


def test_commands_inside_of_stray_data_are_obeyed() -> None:
    bench = Bench(garbage="silent")
    template = bytes(100) + command(0x41) + bytes(386)
    assert bench.ask(0x71, 200 | 1 << 16) == (NACK, 0x1003)
    assert bench.raw(data(template)) == DONE
    assert bench.unit.flash.templates == {}


def test_a_lost_byte_shifts_everything_until_a_silence() -> None:
    bench = Bench(lose="in:byte:3")
    assert bench.raw(command(0x20)) == b""
    assert bench.raw(command(0x20)) == command(NACK, 0x1006)
    assert bench.raw(command(0x20)) == command(NACK, 0x1006)
    bench.now_s += 1.0
    assert bench.ask(0x20) == (ACK, 200)


# ---- Commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "parameter", "answer"),
    [
        (0x02, 0, (ACK, 0)),
        (0x03, 0, (ACK, 0x55)),
        (0x04, 14400, (NACK, 0x1011)),
        (0x21, 1, (ACK, 0)),
        (0x21, 2, (NACK, 0x1004)),
        (0x21, 200, (NACK, 0x1003)),
        (0x22, 1, (NACK, 0x1005)),
        (0x22, 200, (NACK, 0x1003)),
        (0x24, 0, (NACK, 0x100D)),
        (0x40, 2, (ACK, 0)),
        (0x40, 200, (NACK, 0x1003)),
        (0x50, 200, (NACK, 0x1003)),
        (0x50, 2, (NACK, 0x1004)),
        (0x50, 1, (NACK, 0x1007)),
        (0x51, 0, (NACK, 0x1008)),
        (0x60, 0, (NACK, 0x1012)),
        (0x70, 2, (NACK, 0x1004)),
        (0x70, 200, (NACK, 0x1003)),
        (0x71, 200, (NACK, 0x1003)),
        (0xF0, 0, (NACK, 0x1011)),
        (0xF0, 6, (NACK, 0x1011)),
        (0xF1, 0, (ACK, 3)),
        (0x99, 0, (NACK, 0x100E)),
    ],
)
def test_a_command_is_answered_with_its_code(code: int, parameter: int, answer: tuple[int, int]) -> None:
    bench = Bench(preset="empty")
    bench.unit.flash.templates[1] = WORKED_TEMPLATE
    assert bench.ask(code, parameter) == answer
    assert bench.unit.flash.templates == {1: WORKED_TEMPLATE}


def test_an_empty_database_says_so() -> None:
    bench = Bench(preset="empty")
    assert [bench.ask(code) for code in (0x41, 0x51, 0x53)] == [(NACK, 0x100A)] * 3
    full = Bench()
    assert [full.ask(0x41), full.ask(0x20), full.ask(0x41)] == [(ACK, 0), (ACK, 0), (NACK, 0x100A)]


def test_deleting_frees_exactly_the_id_named() -> None:
    bench = Bench(slots="8")
    assert bench.ask(0x40, 3) == (ACK, 0)
    assert sorted(bench.unit.flash.templates) == [0, 1, 2, 4, 5, 6, 7]
    assert bench.ask(0x40, 3) == (ACK, 0)
    assert Bench(slots="8", fill="0", quirks="delete-checks").ask(0x40, 3) == (NACK, 0x1004)


def test_the_duplicate_check_concerns_other_ids_and_can_be_skipped() -> None:
    bench = Bench(preset="empty")
    assert bench.write(4, WORKED_TEMPLATE, skip=0) == (ACK, 0)
    assert bench.write(4, WORKED_TEMPLATE, skip=0) == (ACK, 0)
    assert bench.write(7, WORKED_TEMPLATE, skip=0) == (NACK, 4)
    assert bench.write(7, WORKED_TEMPLATE, skip=0x8000) == (ACK, 0)
    assert bench.write(9, WORKED_TEMPLATE[::-1], skip=0) == (ACK, 0)
    assert sorted(bench.unit.flash.templates) == [4, 7, 9]
    strict = Bench(preset="empty", quirks="no-skip")
    assert [strict.write(number, WORKED_TEMPLATE) for number in (4, 7)] == [(ACK, 0), (NACK, 4)]


def test_a_used_id_is_written_over_unless_the_firmware_checks() -> None:
    assert Bench().write(7, WORKED_TEMPLATE) == (ACK, 0)
    bench = Bench(quirks="set-checks")
    before = bench.unit.image()
    assert bench.write(7, WORKED_TEMPLATE) == (NACK, 0x1005)
    assert bench.unit.image() == before


@pytest.mark.parametrize("wrong", ["start", "device", "sum", "middle"])
def test_damaged_data_is_refused_and_the_next_command_is_understood(wrong: str) -> None:
    bench = Bench(preset="empty")
    packet = bytearray(data(WORKED_TEMPLATE))
    packet[{"start": 0, "device": 2, "middle": 250, "sum": 503}[wrong]] ^= 0x20
    assert bench.ask(0x71, 7 | 1 << 16) == (ACK, 0)
    assert bench.raw(bytes(packet)) == command(NACK, 0x1006)
    assert bench.unit.flash.templates == {}
    assert bench.write(7, WORKED_TEMPLATE) == (ACK, 0)


def test_what_was_written_is_read_back() -> None:
    old, new = Bench(slots="16"), Bench(preset="empty")
    for number in range(16):
        template = old.fetch(0x70, number)
        assert len(template) == 498
        assert new.write(number, template) == (ACK, 0)
        assert new.fetch(0x70, number) == template
    assert new.unit.flash.templates == old.unit.flash.templates


def test_some_templates_hold_whole_packets() -> None:
    holding = [number for number, held in Bench().unit.flash.templates.items() if DONE in held]
    assert holding == list(range(5, 200, 8))


def test_a_finger_is_pressed_lit_captured_and_identified() -> None:
    bench = Bench(finger="17")
    assert bench.ask(0x26) == (ACK, 0)
    assert bench.ask(0x60, 1) == (NACK, 0x1012), "no light, no image"
    assert bench.ask(0x12, 1) == (ACK, 0)
    assert bench.ask(0x60, 1) == (ACK, 0)
    assert bench.ask(0x51) == (ACK, 17)
    assert bench.ask(0x50, 17) == (ACK, 0)
    assert bench.ask(0x50, 18) == (NACK, 0x1007)
    without = Bench()
    assert without.ask(0x26)[1] != 0
    assert [without.ask(0x12, 1), without.ask(0x60)] == [(ACK, 0), (NACK, 0x1012)]


def test_a_moved_template_is_found_where_it_was_moved_to() -> None:
    bench = Bench(preset="empty", finger="4")
    assert bench.write(77, Bench().unit.flash.templates[4]) == (ACK, 0)
    assert [bench.ask(0x12, 1), bench.ask(0x60), bench.ask(0x51)] == [(ACK, 0), (ACK, 0), (ACK, 77)]


def test_a_template_of_the_host_is_verified_and_identified() -> None:
    bench = Bench()
    template = bench.unit.flash.templates[9]
    answers = []
    for code, parameter in ((0x52, 9), (0x52, 8), (0x53, 0)):
        assert bench.ask(code, parameter) == (ACK, 0)
        answers.append(bench.raw(data(template)))
    assert answers == [DONE, command(NACK, 0x1007), command(ACK, 9)]
    assert bench.ask(0x52, 200) == (NACK, 0x1003)


def test_an_enrolment_takes_three_presses() -> None:
    bench = Bench(preset="empty", finger="4")
    assert [bench.ask(0x12, 1), bench.ask(0x22, 6), bench.ask(0x23)] == [(ACK, 0), (ACK, 0), (NACK, 0x100C)]
    assert bench.ask(0x60, 1) == (ACK, 0)
    assert [bench.ask(code) for code in (0x23, 0x24, 0x25)] == [(ACK, 0)] * 3
    assert bench.unit.flash.templates == {6: Bench().unit.flash.templates[4]}
    assert [bench.ask(0x22, 7), *(bench.ask(code) for code in (0x23, 0x24, 0x25))] == [(ACK, 0)] * 3 + [(NACK, 6)]
    assert [bench.ask(0x22, 0xFFFFFFFF), bench.ask(0x23), bench.ask(0x24)] == [(ACK, 0)] * 3
    assert bench.fetch(0x25) == bench.unit.flash.templates[6]
    assert Bench().ask(0x22, 6) == (NACK, 0x1009)


def test_what_make_template_gives_is_not_what_is_stored() -> None:
    bench = Bench(finger="4")
    assert [bench.ask(0x12, 1), bench.ask(0x60)] == [(ACK, 0), (ACK, 0)]
    assert bench.fetch(0x61) != bench.fetch(0x70, 4)
    assert (len(bench.fetch(0x62)), len(bench.fetch(0x63))) == (52116, 19200)


def test_the_security_level_is_kept_or_unknown() -> None:
    bench = Bench(security="5")
    assert [bench.ask(0xF1), bench.ask(0xF0, 2), bench.ask(0xF1)] == [(ACK, 5), (ACK, 0), (ACK, 2)]
    assert bench.unit.flash.level == 2
    old = Bench(security="0")
    assert [old.ask(0xF1), old.ask(0xF0, 2)] == [(NACK, 0x100E)] * 2


@pytest.mark.parametrize("code", [0x72, 0x73, 0x80, 0x81])
def test_what_should_never_be_sent_is_remembered(code: int) -> None:
    bench = Bench()
    bench.ask(0x20)
    assert bench.ask(code) == (NACK, 0x100E)
    assert bench.unit.forbidden == [code]


def test_the_firmware_loader_is_deaf_until_the_power_fails() -> None:
    bench = Bench(reboot="in:byte:30")
    assert bench.ask(0x05) == (ACK, 0)
    assert bench.unit.forbidden == [0x05]
    assert bench.raw(command(0x20)) == b""
    assert bench.raw(command(0x20)) == b""
    bench.now_s += 1.0
    assert bench.ask(0x20) == (ACK, 200)


# ---- Link ------------------------------------------------------------------------------------------------------------


def test_the_speed_changes_after_the_answer_and_falls_back_with_the_power() -> None:
    bench = Bench(reboot="in:frame:4")
    bench.device.set_host_baud(9600)
    assert bench.ask(0x04, 115200) == (ACK, 0)
    assert bench.raw(command(0x20)) == b""
    bench.device.set_host_baud(115200)
    assert bench.ask(0x20) == (ACK, 200)
    assert bench.ask(0x20) == (ACK, 200)
    bench.device.closed()
    bench.device.opened(bench.now_s)
    assert bench.raw(command(0x20)) == b"", "the power fails"
    assert bench.raw(command(0x20)) == b""
    bench.device.set_host_baud(9600)
    assert bench.ask(0x20) == (ACK, 200)


@pytest.mark.parametrize("speed", [9600, 19200, 38400, 57600, 115200])
def test_every_usual_speed_can_be_set(speed: int) -> None:
    bench = Bench()
    assert bench.ask(0x04, speed) == (ACK, 0)
    assert bench.unit.line.baud == speed


def test_an_ack_at_the_new_speed_is_noise_to_a_host_at_the_old_one() -> None:
    bench = Bench(baud_ack="new")
    bench.device.set_host_baud(9600)
    answer = bench.raw(command(0x04, 115200))
    assert answer
    assert len(answer) < 12
    assert bench.raw(command(0x20)) == b""
    bench.device.set_host_baud(115200)
    assert bench.ask(0x04, 115200) == (ACK, 0)


def test_a_module_left_at_another_speed_is_found_there() -> None:
    bench = Bench(baud="115200")
    bench.device.set_host_baud(9600)
    assert bench.raw(command(0x20)) == b""
    bench.device.set_host_baud(115200)
    assert bench.ask(0x20) == (ACK, 200)


def test_a_refused_speed_changes_nothing() -> None:
    bench = Bench()
    bench.device.set_host_baud(9600)
    assert [bench.ask(0x04, speed) for speed in (0, 4800, 230400)] == [(NACK, 0x1011)] * 3
    assert bench.ask(0x20) == (ACK, 200)


@pytest.mark.parametrize("baud", [9600, 115200])
def test_a_paced_template_takes_exactly_the_time_of_its_bytes(baud: int) -> None:
    bench = Bench(pace="1", baud=str(baud))
    bench.fetch(0x70, 9)
    assert bench.unit.wire_bytes_in + bench.unit.wire_bytes_out == 12 + 12 + 504
    assert bench.now_s == pytest.approx(528 * 10 / baud, abs=1e-9)


def test_the_answer_to_a_new_speed_still_takes_the_time_of_the_old_one() -> None:
    bench = Bench(pace="1")
    bench.ask(0x04, 115200)
    assert bench.now_s == pytest.approx(24 * 10 / 9600)
    before_s = bench.now_s
    bench.ask(0x20)
    assert bench.now_s - before_s == pytest.approx(24 * 10 / 115200)


def test_bytes_that_arrive_during_an_answer_are_lost() -> None:
    bench = Bench(pace="1")
    assert bench.raw(command(0x20) + command(0x20)) == command(ACK, 200)
    assert bench.unit.log == [0x20]


def test_a_slow_flash_answers_the_data_late() -> None:
    bench = Bench(flash="slow")
    assert bench.ask(0x71, 1 << 16) == (ACK, 0)
    assert bench.now_s == 0.0
    assert bench.raw(data(WORKED_TEMPLATE)) == DONE
    assert bench.now_s == pytest.approx(0.2)


def test_a_memory_link_carries_a_conversation() -> None:
    unit = open_unit(load_profile("gt511"), "full", {"delay": "out:frame:2:0.01"})

    async def scenario() -> bytes:
        link = MemoryLink.open(unit.device, baud=9600)
        await link.write(command(0x04, 57600))
        assert await link.read() == DONE
        await link.set_baud(57600)
        await link.write(command(0x20))
        answer = await link.read()
        await link.close()
        return answer

    assert asyncio.run(scenario()) == command(ACK, 200)


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_lost_and_late_answers() -> None:
    bench = Bench(lose="out:frame:1,in:frame:2", delay="out:frame:3:1.5")
    answers = [bench.raw(command(0x20)) for _ in range(4)]
    assert answers == [b"", b"", command(ACK, 200), command(ACK, 200)]
    assert bench.now_s == 1.5


def test_a_flip_damages_exactly_one_bit_and_never_the_memory() -> None:
    whole = Bench().raw(command(0x70, 3))
    damaged = Bench(flip="out:frame:2").raw(command(0x70, 3))
    assert sum((one ^ other).bit_count() for one, other in zip(whole, damaged, strict=True)) == 1
    bench = Bench(preset="empty", flip="in:frame:2")
    assert bench.write(3, WORKED_TEMPLATE) == (NACK, 0x1006)
    assert bench.write(3, WORKED_TEMPLATE) == (ACK, 0)


@pytest.mark.parametrize(
    ("cut", "heard"), [("out:byte:300", 300), ("out:frame:2", 12 + 252), ("in:byte:20", 12), ("in:frame:1", 0)]
)
def test_a_cut_line_is_dead_until_it_is_plugged_in_again(cut: str, heard: int) -> None:
    bench = Bench(cut=cut)
    got = b""
    for sent in (command(0x01, 0), command(0x70, 3)) if cut.startswith("in") else (command(0x70, 3),):
        got += bench.raw(sent)
    assert bench.cut
    assert len(got) == heard
    assert bench.raw(command(0x20)) == b""
    bench.device.closed()
    bench.device.opened(bench.now_s)
    assert bench.ask(0x20) == (ACK, 200)


def test_a_power_cut_between_the_two_answers_stores_nothing() -> None:
    bench = Bench(preset="empty", reboot="in:byte:200")
    assert bench.ask(0x71, 1 << 16) == (ACK, 0)
    rest = bench.raw(data(WORKED_TEMPLATE))
    assert rest == command(NACK, 0x1006) * ((504 - 188) // 12)
    assert bench.unit.flash.templates == {}
    bench.now_s += 1.0
    assert bench.ask(0x20) == (ACK, 0)


# ---- awkward firmware ------------------------------------------------------------------------------------------------


def test_awkward_firmware_does_what_its_quirk_says() -> None:
    assert Bench(quirks="count-off").ask(0x20) == (ACK, 201)
    assert Bench(preset="empty", quirks="no-unused").ask(0x70, 3) == (NACK, 0x100F)
    closed = Bench(quirks="needs-open")
    assert [closed.ask(0x20), closed.ask(0x01), closed.ask(0x20)] == [(NACK, 0x100F), (ACK, 0), (ACK, 200)]


def test_an_id_that_cannot_be_stored_says_so_as_often_as_asked() -> None:
    bench = Bench(preset="empty", quirks="store-fails:7:2,store-fails:8")
    assert [bench.write(7, WORKED_TEMPLATE) for _ in range(3)] == [(NACK, 0x100F), (NACK, 0x100F), (ACK, 0)]
    assert [bench.write(8, WORKED_TEMPLATE) for _ in range(3)] == [(NACK, 0x100F)] * 3
    assert list(bench.unit.flash.templates) == [7]


def test_a_silently_damaged_copy_shows_only_when_it_is_read_back() -> None:
    bench = Bench(preset="empty", quirks="readback-differs:12")
    copies = []
    for _ in range(2):
        assert bench.write(12, WORKED_TEMPLATE) == (ACK, 0)
        copies.append(bench.fetch(0x70, 12) == WORKED_TEMPLATE)
    assert copies == [False, True]


def test_a_torn_write_leaves_an_id_that_is_used_and_unreadable_until_written_again() -> None:
    bench = Bench(preset="empty", quirks="torn-store:9", baud="115200")
    assert bench.ask(0x71, 9 | 1 << 16) == (ACK, 0)
    assert bench.raw(data(WORKED_TEMPLATE)) == b""
    assert [bench.ask(0x21, 9), bench.ask(0x70, 9)] == [(ACK, 0), (NACK, 0x100F)]
    assert bench.unit.line.baud == 9600
    assert bench.write(9, WORKED_TEMPLATE) == (ACK, 0)
    assert bench.fetch(0x70, 9) == WORKED_TEMPLATE


def test_an_unreadable_id_is_used() -> None:
    bench = Bench(quirks="unreadable:3")
    assert [bench.ask(0x21, 3), bench.ask(0x70, 3), bench.ask(0x20)] == [(ACK, 0), (NACK, 0x100F), (ACK, 200)]


# ---- presets, seeds, state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "slots"), [("gt511", 200), ("gt-511c3", 200), ("gt-521f52", 3000)])
def test_every_model_has_its_presets(profile: str, slots: int) -> None:
    counts = {preset: Bench(profile, preset).ask(0x20)[1] for preset in PRESETS}
    assert counts == {"full": slots, "half": slots // 2, "empty": 0, "huge": 3000}
    assert Bench(profile).ask(0x21, slots - 1) == (ACK, 0)
    assert Bench(profile).ask(0x21, slots) == (NACK, 0x1003)


def test_the_same_seed_gives_the_same_unit_and_another_gives_other_fingers() -> None:
    first, again, other = (Bench(preset="half", seed=seed).unit for seed in ("7", "7", "8"))
    assert first.image() == again.image()
    assert first.serial == again.serial != other.serial
    assert not set(first.flash.templates.values()) & set(other.flash.templates.values())
    assert len({Bench(preset=preset).unit.serial for preset in PRESETS}) == len(PRESETS)


def test_no_two_templates_are_equal_but_the_twins_asked_for() -> None:
    assert len(set(Bench("gt-521f52").unit.flash.templates.values())) == 3000
    twins = Bench(twins="2").unit.flash.templates
    assert len(set(twins.values())) == 198
    assert twins[0] == twins[198]


def test_a_serial_number_of_zeros_is_none() -> None:
    bench = Bench(serial="00" * 16)
    assert bench.unit.serial is None
    assert bench.fetch(0x01, 1)[8:] == bytes(16)


def test_the_memory_is_in_the_file_before_the_answer_leaves(tmp_path: Path) -> None:
    path = tmp_path / "unit"
    first = Bench(preset="half", state=path, seed="5", slots="60")
    first.write(3, WORKED_TEMPLATE)
    first.ask(0xF0, 1)
    again = Bench(preset="empty", state=path)
    assert again.unit.image() == first.unit.image()
    assert [again.ask(0xF1), again.ask(0x21, 60)] == [(ACK, 1), (NACK, 0x1003)]
    assert again.unit.serial == first.unit.serial
    assert again.fetch(0x70, 3) == WORKED_TEMPLATE
    again.ask(0x41)
    assert Bench(state=path).unit.flash.templates == {}


def test_the_state_of_another_model_or_none_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unit"
    Bench(state=path)
    with pytest.raises(TargetError, match='a simulated "gt-511c3"'):
        Bench("gt511", state=path)
    content = path.read_bytes()
    for wrong in (b"", content[:-1], content.replace(b"gt511", b"gt512"), b"lockmigrate simulated gt511 1\n[]\n"):
        path.write_bytes(wrong)
        with pytest.raises(TargetError, match="not the state of a simulated gt511 unit"):
            Bench(state=path)
    with pytest.raises(FileTrouble):
        Bench(state=tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("serial", "00"),
        ("firmware", "1.0"),
        ("firmware", "2013041"),
        ("slots", "4097"),
        ("fill", "201"),
        ("security", "6"),
        ("baud", "14400"),
        ("baud_ack", "never"),
        ("finger", "x"),
        ("quirks", "sulks"),
        ("quirks", "store-fails"),
        ("quirks", "count-off:1"),
        ("sed", "1"),
    ],
)
def test_an_impossible_option_is_named(option: str, value: str) -> None:
    with pytest.raises(TargetError):
        Bench(**{option: value})


def test_a_unit_can_stand_in_for_another_one() -> None:
    profile = load_profile("gt511")
    facts = {"slots": 3000, "template_size_bytes": 498, "firmware": "20160501", "security_level": 4, "serial": "x"}
    options = stand_in_options(profile, facts)
    bench = Bench("gt511", "empty", **options)
    assert bench.ask(0x21, 2999) == (NACK, 0x1004)
    assert bench.fetch(0x01, 1)[:4] == bytes.fromhex("01051620")
    assert bench.ask(0xF1) == (ACK, 4)
    assert stand_in_options(profile, {"slots": None, "firmware": None, "security_level": None}) == {}
    assert bench.unit.credential == {}
