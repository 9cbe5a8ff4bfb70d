"""The list of ports, and what USB ids tell."""

from __future__ import annotations

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from lockmigrate.transports import ports
from lockmigrate.transports.ports import PortInfo, known_adapter, list_serial_ports


def port(device: str, vid: int | None = None, pid: int | None = None) -> ListPortInfo:
    info = ListPortInfo(device)
    info.vid, info.pid = vid, pid
    return info


def test_usb_ports_come_first_and_numbers_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [port("COM1"), port("COM10", 0x0403, 0x6001), port("COM9", 0x10C4, 0xEA60)]
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    assert [info.device for info in list_serial_ports()] == ["COM9", "COM10", "COM1"]


def test_what_pyserial_does_not_know_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [port("/dev/ttyS0")])
    assert list_serial_ports() == [PortInfo(device="/dev/ttyS0")]


def test_a_system_that_cannot_tell_has_no_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[ListPortInfo]:
        raise OSError

    monkeypatch.setattr(list_ports, "comports", fail)
    assert list_serial_ports() == []


def test_this_computer_can_be_asked() -> None:
    assert all(isinstance(info, PortInfo) and info.device for info in list_serial_ports())


@pytest.mark.parametrize(
    ("vid", "pid", "word"),
    [
        (0x10C4, 0xEA60, "CP210x"),
        (0x1A86, 0x7523, "CH340"),
        (0x1A86, 0x55D4, "CH9102"),
        (0x0403, 0x6001, "16 ms"),
        (0x067B, 0x23A3, "PL2303GC"),
        (0x2E8A, 0x000A, "Raspberry Pi"),
        (0x2341, 0x0043, "Arduino"),
        (0x1915, 0x521F, "Nordic"),
    ],
)
def test_common_adapters_are_known(vid: int, pid: int, word: str) -> None:
    known = known_adapter(vid, pid)
    assert known is not None
    assert word in known


@pytest.mark.parametrize(("vid", "pid"), [(None, None), (0x10C4, None), (0x10C4, 0x0001), (0x1234, 0x5678)])
def test_nothing_is_claimed_of_others(vid: int | None, pid: int | None) -> None:
    assert known_adapter(vid, pid) is None


def test_every_remark_is_one_line() -> None:
    for remark in [*ports.KNOWN_DEVICES.values(), *ports.KNOWN_VENDORS.values()]:
        assert "\n" not in remark
        assert len(remark) < 160
