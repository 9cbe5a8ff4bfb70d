"""The simulated "0xF5" modules against the wire reference of the family; headings are that one's."""

from __future__ import annotations

import asyncio
from functools import reduce
from operator import xor
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

OK, FAIL, FULL, NO_USER, TAKEN, DUPLICATE, TIMED_OUT = 0, 1, 4, 5, 6, 7, 8


def short(code: int, value: int = 0, third: int = 0) -> bytes:
    """Build a short frame by hand (Frames); an answer has the same shape."""
    body = bytes([code]) + value.to_bytes(2, "big") + bytes([third, 0])
    return b"\xf5" + body + bytes([reduce(xor, body)]) + b"\xf5"


def long(content: bytes) -> bytes:
    """Build by hand what follows the head of a long frame."""
    return b"\xf5" + content + bytes([reduce(xor, content)]) + b"\xf5"


def user(number: int, permission: int, template: bytes) -> bytes:
    """Build the content of 31 and 41."""
    return number.to_bytes(2, "big") + bytes([permission]) + template


COUNTED = bytes(range(193))
WORKED = b"\xf5\x00\x05\x01" + COUNTED + b"\xc4\xf5"
"""Worked frames: data packet for user 5. Its template begins with 00: 193 bytes from 00 to C0."""


class Bench:
    """A host at the other end of the wire, with a clock of its own."""

    def __init__(self, preset: str = "full", profile: str = "f5", state: Path | None = None, **options: str) -> None:
        self.unit: SimulatedUnit = open_unit(load_profile(profile), preset, {"slots": "20", **options}, state=state)
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

    def ask(self, code: int, value: int = 0, third: int = 0) -> tuple[int, int]:
        """Send a command with a short answer; return Q1 Q2 as one number, and Q3."""
        return self.told(self.raw(short(code, value, third)), code)

    def told(self, answer: bytes, code: int) -> tuple[int, int]:
        """Read a short answer."""
        told = int.from_bytes(answer[2:4], "big"), answer[4]
        assert answer == short(code, *told)
        return told

    def fetch(self, code: int, value: int = 0) -> bytes:
        """Send a command with a long answer; return its data."""
        answer = self.raw(short(code, value))
        assert answer[:8] == short(code, len(answer) - 11)
        assert answer[8:] == long(answer[9:-2])
        return answer[9:-2]

    def write(self, number: int, template: bytes, permission: int = 1) -> int:
        """Write a template; return Q3."""
        content = user(number, permission, template)
        told = self.told(self.raw(short(0x41, len(content)) + long(content)), 0x41)
        assert told[0] == number
        return told[1]


# ---- Worked frames ---------------------------------------------------------------------------------------------------


def hexes(text: str) -> bytes:
    return bytes.fromhex(text)


def test_the_bench_builds_the_worked_frames_of_the_reference() -> None:
    assert short(0x04, 300) == hexes("F5 04 01 2C 00 00 29 F5")
    assert short(0x41, 196) == hexes("F5 41 00 C4 00 00 85 F5")
    assert long(user(5, 1, COUNTED)) == WORKED
    assert len(WORKED) == 199


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("F5 05 00 00 01 00 04 F5", "F5 05 00 00 00 00 05 F5"),  # delete all, P3 = 1 (published)
        ("F5 01 00 05 01 00 05 F5", "F5 01 00 00 00 00 01 F5"),  # first press accepted
        ("F5 04 01 2C 00 00 29 F5", "F5 04 00 00 00 00 04 F5"),  # delete user 300
        ("F5 09 00 00 00 00 09 F5", "F5 09 00 07 00 00 0E F5"),  # count, answer 7
        ("F5 0A 00 05 00 00 0F F5", "F5 0A 00 00 05 00 0F F5"),  # permission of user 5: unknown user
        ("F5 2D 00 00 01 00 2C F5", "F5 2D 00 01 00 00 2C F5"),  # query duplicates: refused
        ("F5 2D 00 01 00 00 2C F5", "F5 2D 00 01 00 00 2C F5"),  # forbid duplicates
        ("F5 28 00 00 01 00 29 F5", "F5 28 00 05 00 00 2D F5"),  # query level: 5
        ("F5 2E 00 00 01 00 2F F5", "F5 2E 00 14 00 00 3A F5"),  # query timeout: 20
    ],
)
def test_a_module_gives_the_worked_answer(asked: str, answered: str) -> None:
    bench = Bench("empty", finger="9")
    users = {number: (2, bytes([number % 256]) * 193) for number in (1, 2, 6, 7, 8, 300, 4095)}
    bench.unit.flash.templates.update(users)
    assert bench.raw(hexes(asked)) == hexes(answered)


def test_the_permission_of_user_5_is_told_as_worked() -> None:
    bench = Bench("empty")
    bench.unit.flash.templates[5] = (2, COUNTED)
    assert bench.raw(hexes("F5 0A 00 05 00 00 0F F5")) == hexes("F5 0A 00 00 02 00 08 F5")


def test_the_three_presses_add_user_5() -> None:
    bench = Bench("empty", finger="9")
    for press in ("F5 01 00 05 01 00 05 F5", "F5 02 00 05 01 00 06 F5", "F5 03 00 05 01 00 07 F5"):
        assert bench.raw(hexes(press)) == short(hexes(press)[1])
    assert bench.unit.flash.templates == {5: (1, Bench().unit.flash.templates[9][1])}


def test_the_first_press_says_when_the_module_is_full() -> None:
    bench = Bench(fill="4", slots="4", finger="9")
    assert bench.raw(hexes("F5 01 00 05 01 00 05 F5")) == hexes("F5 01 00 00 04 00 05 F5")


def test_a_finger_is_found_in_the_worked_answer() -> None:
    bench = Bench("empty", finger="9")
    bench.unit.flash.templates[5] = (1, Bench().unit.flash.templates[9][1])
    assert bench.raw(hexes("F5 0C 00 00 00 00 0C F5")) == hexes("F5 0C 00 05 01 00 08 F5")


def test_a_capture_has_the_published_length() -> None:
    bench = Bench(finger="9")
    answer = bench.raw(hexes("F5 23 00 00 00 00 23 F5"))
    assert len(answer) == 207
    assert answer[8:] == long(bytes(3) + bench.unit.flash.templates[9][1])


def test_the_list_has_the_worked_bytes() -> None:
    bench = Bench("empty")
    bench.unit.flash.templates.update({5: (2, COUNTED), 1: (1, COUNTED)})
    assert bench.raw(hexes("F5 2B 00 00 00 00 2B F5")) == hexes(
        "F5 2B 00 08 00 00 23 F5 F5 00 02 00 01 01 00 05 02 05 F5"
    )


def test_a_template_comes_up_and_goes_down_in_the_worked_frames() -> None:
    old, new = Bench("empty"), Bench("empty")
    old.unit.flash.templates[5] = (1, COUNTED)
    answer = old.raw(hexes("F5 31 00 05 00 00 34 F5"))
    assert answer == hexes("F5 31 00 C4 00 00 F5 F5") + WORKED
    assert new.raw(hexes("F5 41 00 C4 00 00 85 F5")) == b""
    assert new.raw(WORKED) == hexes("F5 41 00 05 00 00 44 F5")
    assert new.unit.flash.templates == {5: (1, COUNTED)}


# ---- Frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(8))
def test_a_flipped_bit_in_a_command_is_never_obeyed(at: int) -> None:
    wrong = bytearray(short(0x05))
    wrong[at] ^= 0x08
    silent, loud = Bench(), Bench(bad_check="fail")
    assert silent.raw(bytes(wrong)) == b""
    assert loud.raw(bytes(wrong)) == (short(wrong[1], 0, FAIL) if at else b"")
    assert silent.unit.log == loud.unit.log == []
    assert len(loud.unit.flash.templates) == 20


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.binary(max_size=30))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int], noise: bytes) -> None:
    content = user(20, 3, COUNTED)
    conversation = (
        noise.replace(b"\xf5", b"") + short(0x2B) + short(0x31, 4) + short(0x41, 196) + long(content) + short(9)
    )
    whole, cut = Bench(fill="19", overwrite="1"), Bench(fill="19", overwrite="1")
    answers, at = b"", 0
    for size in [*sizes, len(conversation)]:
        answers += cut.raw(conversation[at : at + size])
        at += size
    assert answers == whole.raw(conversation)
    assert cut.unit.log == [0x2B, 0x31, 0x41, 0x09]
    assert cut.unit.flash.templates[20] == (3, COUNTED)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 65535), st.integers(0, 4), st.binary(max_size=40))))
def test_no_frame_whatever_brings_a_module_down(sent: list[tuple[int, int, int, bytes]]) -> None:
    bench = Bench(finger="3", bad_check="fail")
    for code, value, third, noise in sent:
        bench.raw(short(code, value if value % 2 else value % 23, third) + noise)
    assert bench.device.receive(b"", bench.now_s) == []


def test_bytes_before_a_mark_are_ignored_and_a_stray_mark_costs_a_frame() -> None:
    bench = Bench()
    assert bench.raw(b"\x00\x41\x09" + short(9)) == short(9, 20)
    assert bench.raw(b"\xf5" + short(9)) == b""
    bench.now_s += 1.0
    assert bench.ask(9) == (20, OK)


def test_half_a_frame_is_forgotten_after_a_second_of_silence() -> None:
    bench = Bench()
    assert bench.raw(short(9)[:5]) == b""
    bench.now_s += 0.5
    assert bench.raw(short(9)[5:]) == short(9, 20)
    assert bench.raw(short(0x41, 196) + WORKED[:50]) == b""
    bench.now_s += 1.0
    assert bench.ask(9) == (20, OK)


def test_marks_inside_of_data_are_data() -> None:
    old, new = Bench("full", slots="200"), Bench("empty", slots="200")
    held = old.unit.flash.templates
    assert sum(template.count(0xF5) for _, template in held.values()) > 1000
    assert any(template.endswith(b"\xf5") for _, template in held.values())
    assert any(short(9) in template for _, template in held.values())
    for number, (permission, template) in held.items():
        content = old.fetch(0x31, number)
        assert content == user(number, permission, template)
        assert new.write(number, template, permission) == OK
    assert new.unit.flash.templates == held
    assert {long(user(number, *its))[-2:] for number, its in held.items() if number % 4 == 0} == {b"\xf5\xf5"}


def test_damaged_data_is_not_kept_and_the_next_command_is_understood() -> None:
    for option, answer in (("silent", b""), ("fail", short(0x41, 0, FAIL))):
        bench = Bench("empty", bad_check=option)
        wrong = bytearray(WORKED)
        wrong[100] ^= 0x20
        assert bench.raw(short(0x41, 196) + bytes(wrong)) == answer
        assert bench.unit.flash.templates == {}
        assert bench.write(5, COUNTED) == OK


def test_a_damaged_head_has_its_data_taken_for_commands() -> None:
    bench = Bench(bad_check="fail", flip="in:frame:1")
    template = bytes(40) + short(0x05) + bytes(145)
    answer = bench.raw(short(0x41, 196) + long(user(5, 1, template)))
    assert answer[:8] == short(0x41, 0, FAIL)
    assert short(0x05) in answer
    assert bench.unit.flash.templates == {}


def test_data_of_another_length_fails_after_it_was_read_whole() -> None:
    bench = Bench("empty")
    for size in (0, 100, 194, 300):
        content = user(5, 1, bytes(size))
        assert bench.raw(short(0x41, len(content)) + long(content)) == short(0x41, 0, FAIL)
    assert bench.unit.flash.templates == {}
    assert bench.ask(9) == (0, OK)


# ---- Commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "third", "answer"),
    [
        (0x02, 9, 1, (0, FAIL)),
        (0x03, 9, 1, (0, FAIL)),
        (0x01, 5, 1, (0, TAKEN)),
        (0x01, 0, 1, (0, FAIL)),
        (0x01, 0x1000, 1, (0, FAIL)),
        (0x01, 9, 4, (0, FAIL)),
        (0x01, 9, 1, (0, DUPLICATE)),
        (0x04, 6, 0, (0, NO_USER)),
        (0x06, 0, 0, (0, FAIL)),
        (0x0A, 5, 0, (0, 2)),
        (0x0B, 5, 0, (0, OK)),
        (0x0B, 7, 0, (0, FAIL)),
        (0x0B, 6, 0, (0, NO_USER)),
        (0x0C, 0, 0, (5, 2)),
        (0x21, 1, 0, (0, FAIL)),
        (0x28, 10, 0, (0, FAIL)),
        (0x28, 9, 0, (9, OK)),
        (0x28, 0, 2, (0, FAIL)),
        (0x2D, 2, 0, (0, FAIL)),
        (0x2E, 255, 0, (255, OK)),
        (0x2E, 256, 0, (0, FAIL)),
        (0x31, 6, 0, (0, NO_USER)),
        (0x77, 0, 0, (0, FAIL)),
    ],
)
def test_a_command_is_answered_with_its_result(code: int, value: int, third: int, answer: tuple[int, int]) -> None:
    bench = Bench("empty", finger="3")
    users = {5: (2, Bench().unit.flash.templates[3][1]), 7: (3, COUNTED)}
    bench.unit.flash.templates.update(users)
    assert bench.ask(code, value, third) == answer
    assert bench.unit.flash.templates == users


def test_deleting_all_with_a_permission_spares_the_others() -> None:
    bench = Bench("empty")
    bench.unit.flash.templates.update({number: (1 + number % 3, COUNTED) for number in range(1, 10)})
    assert bench.ask(0x05, 0, 1) == (0, OK)
    assert sorted(bench.unit.flash.templates) == [1, 2, 4, 5, 7, 8]
    assert bench.ask(0x05) == (0, OK)
    assert bench.unit.flash.templates == {}
    assert bench.ask(0x05) == (0, OK)
    assert bench.fetch(0x2B) == b"\0\0"


def test_settings_are_set_and_asked_for() -> None:
    bench = Bench(level="2", duplicates="0", timeout="8")
    assert [bench.ask(code, 0, 1) for code in (0x28, 0x2D, 0x2E)] == [(2, OK), (0, OK), (8, OK)]
    assert [bench.ask(0x28, 7), bench.ask(0x2D, 1), bench.ask(0x2E, 9)] == [(7, OK), (1, OK), (9, OK)]
    flash = bench.unit.flash
    assert (flash.level, flash.duplicates, flash.timeout) == (7, 1, 9)


def test_the_version_is_text() -> None:
    assert Bench(firmware="FP-C 7").fetch(0x26) == b"FP-C 7"


def test_writing_refuses_a_user_in_use_unless_the_module_writes_over() -> None:
    bench = Bench("empty")
    assert [bench.write(5, COUNTED), bench.write(5, COUNTED[::-1])] == [OK, TAKEN]
    assert bench.unit.flash.templates == {5: (1, COUNTED)}
    willing = Bench("empty", overwrite="1")
    assert [willing.write(5, COUNTED), willing.write(5, COUNTED[::-1], 3)] == [OK, OK]
    assert willing.unit.flash.templates == {5: (3, COUNTED[::-1])}


def test_writing_refuses_a_finger_twice_only_while_duplicates_are_refused() -> None:
    bench = Bench("empty")
    assert [bench.write(5, COUNTED), bench.write(6, COUNTED)] == [OK, DUPLICATE]
    assert bench.ask(0x2D, 0) == (0, OK)
    assert bench.write(6, COUNTED) == OK
    assert sorted(bench.unit.flash.templates) == [5, 6]


def test_writing_stops_when_the_module_is_full() -> None:
    bench = Bench("empty", slots="2", overwrite="1")
    templates = [bytes([number]) * 193 for number in range(5)]
    assert [bench.write(4095, templates[0]), bench.write(1, templates[1])] == [OK, OK]
    assert bench.write(2, templates[2]) == FULL
    assert bench.write(1, templates[3]) == OK


@pytest.mark.parametrize(("number", "permission"), [(0, 1), (0x1000, 1), (5, 0), (5, 4)])
def test_writing_refuses_what_no_user_can_have(number: int, permission: int) -> None:
    bench = Bench("empty")
    assert bench.write(number, COUNTED, permission) == FAIL
    assert bench.unit.flash.templates == {}


def test_a_template_of_the_host_is_compared() -> None:
    bench = Bench(finger="9")
    template = bench.unit.flash.templates[9][1]

    def compare(code: int, number: int, sent: bytes) -> tuple[int, int]:
        content = user(number, 0, sent)
        return bench.told(bench.raw(short(code, len(content)) + long(content)), code)

    assert [compare(0x42, 9, template), compare(0x42, 8, template)] == [(0, OK), (0, FAIL)]
    assert compare(0x42, 300, template) == (0, NO_USER)
    assert [compare(0x43, 0, template), compare(0x43, 0, COUNTED)] == [(9, 1), (0, NO_USER)]
    assert [compare(0x44, 0, template), compare(0x44, 0, COUNTED)] == [(0, OK), (0, FAIL)]
    content = user(9, 0, template)
    odd = Bench(quirks="answer-43")
    assert odd.raw(short(0x42, len(content)) + long(content)) == short(0x43)


def test_the_third_press_can_give_the_template_instead() -> None:
    bench = Bench("empty", finger="9")
    assert [bench.ask(0x01, 5, 1), bench.ask(0x02, 5, 2), bench.ask(0x02, 5, 1)] == [(0, OK), (0, FAIL), (0, OK)]
    assert bench.fetch(0x06) == bytes(3) + Bench().unit.flash.templates[9][1]
    assert bench.unit.flash.templates == {}
    assert bench.ask(0x06) == (0, FAIL)


def test_an_enrolment_begins_again_with_the_first_press_and_ends_with_the_power() -> None:
    bench = Bench("empty", finger="9", reboot="in:byte:40")
    assert [bench.ask(0x01, 5, 1), bench.ask(0x02, 5, 1), bench.ask(0x01, 6, 1)] == [(0, OK)] * 3
    assert [bench.ask(0x03, 6, 1), bench.ask(0x02, 6, 1)] == [(0, FAIL), (0, OK)]
    assert bench.ask(0x03, 6, 1) == (0, FAIL), "the power failed"
    assert bench.unit.flash.templates == {}


def test_an_image_has_its_length() -> None:
    assert len(Bench(finger="9").fetch(0x24)) == 9800


@pytest.mark.parametrize("command", [short(0x0C), short(0x0B, 5), short(0x23), short(0x24), short(0x01, 300, 1)])
def test_without_a_finger_the_module_waits_and_gives_up(command: bytes) -> None:
    bench = Bench(timeout="8", slots="30", fill="20")
    bench.unit.flash.templates[5] = (1, COUNTED)
    assert bench.raw(command) == short(command[1], 0, TIMED_OUT)
    assert bench.now_s == pytest.approx(2.0)
    assert bench.ask(9)[1] == OK


def test_without_a_timeout_it_waits_for_ever() -> None:
    bench = Bench(timeout="0")
    assert bench.raw(short(0x0C)) == b""
    bench.now_s += 100.0
    assert bench.raw(short(9)) == b""


def test_sleep_is_remembered_and_only_the_power_wakes_it() -> None:
    bench = Bench(reboot="in:byte:24")
    bench.ask(9)
    assert bench.ask(0x2C) == (0, OK)
    assert bench.unit.forbidden == [0x2C]
    assert bench.raw(short(9)) == b""
    bench.now_s += 1.0
    assert bench.ask(9) == (20, OK)


# ---- Link ------------------------------------------------------------------------------------------------------------


def test_a_host_at_another_speed_hears_nothing() -> None:
    bench = Bench()
    bench.device.set_host_baud(9600)
    assert bench.raw(short(9)) == b""
    bench.device.set_host_baud(19200)
    assert bench.ask(9) == (20, OK)
    other = Bench(baud="57600")
    other.device.set_host_baud(19200)
    assert other.raw(short(9)) == b""


@pytest.mark.parametrize("baud", [19200, 115200])
def test_a_paced_template_takes_exactly_the_time_of_its_bytes(baud: int) -> None:
    bench = Bench(pace="1", baud=str(baud))
    bench.fetch(0x31, 9)
    assert bench.unit.wire_bytes_in + bench.unit.wire_bytes_out == 8 + 207
    assert bench.now_s == pytest.approx(215 * 10 / baud, abs=1e-9)
    bench = Bench("empty", pace="1", baud=str(baud))
    assert bench.write(9, COUNTED) == OK
    assert bench.now_s == pytest.approx(215 * 10 / baud, abs=1e-9)


def test_bytes_that_arrive_during_an_answer_are_lost() -> None:
    bench = Bench(pace="1")
    assert bench.raw(short(9) + short(9)) == short(9, 20)
    assert bench.unit.log == [9]


def test_a_slow_flash_answers_late() -> None:
    bench = Bench("empty", flash="slow")
    assert bench.write(9, COUNTED) == OK
    assert bench.now_s == pytest.approx(0.2)


def test_a_memory_link_carries_a_conversation() -> None:
    unit = open_unit(load_profile("waveshare-fp-c"), "full", {"delay": "out:frame:1:0.01"})

    async def scenario() -> bytes:
        link = MemoryLink.open(unit.device, baud=9600)
        await link.write(short(9))
        await link.set_baud(19200)
        await link.write(short(9))
        answer = await link.read()
        await link.close()
        return answer

    assert asyncio.run(scenario()) == short(9, 500)


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_lost_and_late_answers() -> None:
    bench = Bench(lose="out:frame:1,in:frame:2", delay="out:frame:3:1.5")
    assert [bench.raw(short(9)) for _ in range(4)] == [b"", b"", short(9, 20), short(9, 20)]
    assert bench.now_s == 1.5


def test_a_flip_damages_exactly_one_bit_and_never_the_memory() -> None:
    whole = Bench().raw(short(0x31, 3))
    damaged = Bench(flip="out:frame:2").raw(short(0x31, 3))
    assert sum((one ^ other).bit_count() for one, other in zip(whole, damaged, strict=True)) == 1
    bench = Bench("empty", flip="in:frame:2")
    assert bench.raw(short(0x41, 196) + WORKED) == b""
    assert bench.unit.flash.templates == {}


@pytest.mark.parametrize(
    ("cut", "heard"), [("out:byte:100", 100), ("out:frame:2", 8 + 99), ("in:byte:12", 8), ("in:frame:2", 8)]
)
def test_a_cut_line_is_dead_until_it_is_plugged_in_again(cut: str, heard: int) -> None:
    bench = Bench(cut=cut)
    got = b"".join(bench.raw(sent) for sent in ((short(9), short(9)) if cut.startswith("in") else (short(0x31, 3),)))
    assert bench.cut
    assert len(got) == heard
    assert bench.raw(short(9)) == b""
    bench.device.closed()
    bench.device.opened(bench.now_s)
    assert bench.ask(9) == (20, OK)


def test_a_power_cut_in_the_middle_of_the_data_stores_nothing() -> None:
    bench = Bench("empty", reboot="in:byte:100")
    bench.raw(short(0x41, 196) + WORKED)
    assert bench.unit.flash.templates == {}
    bench.now_s += 1.0
    assert bench.ask(9) == (0, OK)


# ---- awkward firmware ------------------------------------------------------------------------------------------------


def test_awkward_firmware_does_what_its_quirk_says() -> None:
    assert Bench(quirks="no-list").ask(0x2B) == (0, FAIL)
    assert Bench(quirks="no-version").ask(0x26) == (0, FAIL)
    assert [Bench(quirks="no-settings").ask(code, 0, 1) for code in (0x28, 0x2D, 0x2E)] == [(0, FAIL)] * 3
    assert Bench(quirks="count-off").ask(9) == (21, OK)
    assert Bench(quirks="silent-unknown").raw(short(0x77)) == b""
    unwilling = Bench("empty", quirks="no-write")
    assert unwilling.raw(short(0x41, 196)) == short(0x41, 0, FAIL)
    odd = Bench(quirks="permission-differs:5")
    listed = odd.fetch(0x2B)[2:]
    assert listed[12:15] != odd.fetch(0x31, 5)[:3]
    assert listed[15:18] == odd.fetch(0x31, 6)[:3]


def test_a_user_that_cannot_be_stored_says_so_as_often_as_asked() -> None:
    bench = Bench("empty", quirks="store-fails:7:2,store-fails:8")
    assert [bench.write(7, COUNTED) for _ in range(3)] == [FAIL, FAIL, OK]
    assert [bench.write(8, COUNTED[::-1]) for _ in range(3)] == [FAIL] * 3
    assert list(bench.unit.flash.templates) == [7]


def test_a_silently_damaged_copy_shows_only_when_it_is_read_back() -> None:
    bench = Bench("empty", quirks="readback-differs:12", overwrite="1")
    copies = []
    for _ in range(2):
        assert bench.write(12, COUNTED) == OK
        copies.append(bench.fetch(0x31, 12) == user(12, 1, COUNTED))
    assert copies == [False, True]


def test_a_torn_write_leaves_a_user_that_is_listed_and_unreadable() -> None:
    bench = Bench("empty", quirks="torn-store:9", overwrite="1")
    assert bench.raw(short(0x41, 196) + long(user(9, 2, COUNTED))) == b""
    assert bench.fetch(0x2B) == bytes.fromhex("0001 0009 02")
    assert bench.ask(0x31, 9) == (0, FAIL)
    assert bench.write(9, COUNTED) == OK
    assert bench.fetch(0x31, 9) == user(9, 1, COUNTED)


def test_an_unreadable_user_is_listed() -> None:
    bench = Bench(quirks="unreadable:3")
    assert [bench.ask(0x31, 3), bench.ask(9)] == [(0, FAIL), (20, OK)]
    assert len(bench.fetch(0x2B)) == 2 + 3 * 20


# ---- presets, seeds, state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "slots"), [("f5", 1000), ("waveshare-fp-c", 500)])
def test_every_model_has_its_presets(profile: str, slots: int) -> None:
    units = {preset: open_unit(load_profile(profile), preset) for preset in PRESETS}
    counts = {preset: len(unit.flash.templates) for preset, unit in units.items()}
    assert counts == {"full": slots, "half": slots // 2, "empty": 0, "huge": 1000}
    assert {len(template) for _, template in units["huge"].flash.templates.values()} == {1536}
    assert {len(template) for _, template in units["full"].flash.templates.values()} == {193}
    assert min(units["full"].flash.templates) == 1
    assert {permission for permission, _ in units["full"].flash.templates.values()} == {1, 2, 3}


def test_the_same_seed_gives_the_same_unit_and_another_gives_other_fingers() -> None:
    first, again, other = (Bench("half", seed=seed).unit for seed in ("7", "7", "8"))
    assert first.image() == again.image() != other.image()
    assert not {its for _, its in first.flash.templates.values()} & {its for _, its in other.flash.templates.values()}
    assert first.serial is None


def test_no_two_templates_are_equal_but_the_twins_asked_for() -> None:
    held = open_unit(load_profile("f5"), "full").flash.templates
    assert len({template for _, template in held.values()}) == 1000
    twins = Bench(twins="2").unit.flash.templates
    assert len({template for _, template in twins.values()}) == 18
    assert twins[1][1] == twins[19][1]


def test_the_memory_is_in_the_file_before_the_answer_leaves(tmp_path: Path) -> None:
    path = tmp_path / "unit"
    first = Bench("half", state=path, seed="5", overwrite="1")
    first.ask(0x2D, 0)
    first.write(3, COUNTED, 3)
    again = Bench("empty", state=path, slots="3")
    assert again.unit.image() == first.unit.image()
    assert again.unit.flash.templates[3] == (3, COUNTED)
    assert again.unit.flash.duplicates == 0
    again.ask(0x05)
    assert Bench(state=path).unit.flash.templates == {}


def test_the_state_of_another_model_or_none_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unit"
    Bench(state=path)
    with pytest.raises(TargetError, match='a simulated "f5"'):
        Bench(profile="waveshare-fp-c", state=path)
    content = path.read_bytes()
    for wrong in (b"", content[:-1], content[1:], b"lockmigrate simulated f5 1\n{}\n"):
        path.write_bytes(wrong)
        with pytest.raises(TargetError, match="not the state of a simulated f5 unit"):
            Bench(state=path)
    with pytest.raises(FileTrouble):
        Bench(state=tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("slots", "4096"),
        ("fill", "21"),
        ("level", "10"),
        ("duplicates", "2"),
        ("timeout", "256"),
        ("bad_check", "maybe"),
        ("firmware", "Ä"),
        ("finger", "-1"),
        ("quirks", "sulks"),
        ("quirks", "unreadable"),
        ("sed", "1"),
    ],
)
def test_an_impossible_option_is_named(option: str, value: str) -> None:
    with pytest.raises(TargetError):
        Bench(**{option: value})


def test_a_unit_can_stand_in_for_another_one() -> None:
    profile = load_profile("f5")
    facts = {
        "slots": 30,
        "template_size_bytes": 300,
        "firmware": "V7",
        "level": 2,
        "duplicates": False,
        "timeout": None,
    }
    options = stand_in_options(profile, facts)
    bench = Bench("empty", **options)
    assert bench.fetch(0x26) == b"V7"
    assert [bench.ask(0x28, 0, 1), bench.ask(0x2D, 0, 1)] == [(2, OK), (0, OK)]
    assert bench.write(30, bytes(300)) == OK
    assert stand_in_options(profile, {"slots": None, "firmware": None}) == {}
    assert bench.unit.credential == {}
