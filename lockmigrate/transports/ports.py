"""The serial ports of this computer, and what their USB ids tell a technician.

Names of ids: usb.ids 2026.06.10 (http://www.linux-usb.org/usb.ids), except
- 1a86:55d4 = CH9102, not listed there: WCH's Linux driver ch343ser_linux, table of ids;
- 067b:23b3 to 23f3 = PL2303 GB, GT, GL, GE, GS (and GC = 23a3, which usb.ids knows by a cable's name): Linux,
  drivers/usb/serial/pl2303.h;
- 2e8a = Raspberry Pi, sub-licensed to makers of boards with its chips, not listed: github.com/raspberrypi/usb-pid.
FTDI's 16 ms: FTDI, AN232B-04, and the chip's default in Linux, drivers/usb/serial/ftdi_sio.c (`latency_timer`).
CH340's levels: WCH, CH340 data sheet, pins VCC and V3 (at 5 V supply its outputs swing to 5 V); a
board whose jumper moves VCC but not TX was measured at https://hackaday.io/page/11448.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

JUMPER: Final = "set its jumper to 3.3 V and measure TX first"
LATENCY: Final = "holds short answers back 16 ms: set its latency timer to 1 ms"
NATIVE: Final = "a board with its own USB: it reaches a unit only if its firmware bridges USB to the UART pins"

KNOWN_DEVICES: Final[dict[tuple[int, int], str]] = {
    (0x10C4, 0xEA60): f"Silicon Labs CP210x; {JUMPER}",
    (0x1A86, 0x7523): f"WCH CH340; {JUMPER}: at 5 V supply TX swings to 5 V, and some jumpers switch VCC alone",
    (0x1A86, 0x5523): f"WCH CH341 in serial mode; {JUMPER}",
    (0x1A86, 0x55D4): f"WCH CH9102; {JUMPER}",
    (0x0403, 0x6001): f"FTDI FT232; {LATENCY}; {JUMPER}",
    (0x0403, 0x6010): f"FTDI FT2232C/D/H, two ports; {LATENCY}",
    (0x0403, 0x6011): f"FTDI FT4232H, four ports; {LATENCY}",
    (0x0403, 0x6014): f"FTDI FT232H; {LATENCY}",
    (0x0403, 0x6015): f"FTDI FT-X (FT230X, FT231X and others); {LATENCY}; {JUMPER}",
    (0x2E8A, 0x000C): "Raspberry Pi Debug Probe; its UART socket is a USB to UART bridge for 3.3 V",
    (0x067B, 0x2303): f"Prolific PL2303; {JUMPER}",
    (0x067B, 0x23A3): f"Prolific PL2303GC; {JUMPER}",
    (0x067B, 0x23B3): f"Prolific PL2303GB; {JUMPER}",
    (0x067B, 0x23C3): f"Prolific PL2303GT; {JUMPER}",
    (0x067B, 0x23D3): f"Prolific PL2303GL; {JUMPER}",
    (0x067B, 0x23E3): f"Prolific PL2303GE; {JUMPER}",
    (0x067B, 0x23F3): f"Prolific PL2303GS; {JUMPER}",
}
"""Chips by USB vendor and product id."""

KNOWN_VENDORS: Final[dict[int, str]] = {
    0x2E8A: f"Raspberry Pi Pico or another maker's RP2040 or RP2350, {NATIVE}",
    0x2341: f"Arduino, {NATIVE}; 5 V boards need a level shifter",
    0x1915: f"Nordic Semiconductor, {NATIVE}",
}
"""Makers of boards, any product id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortInfo:
    """One serial port of this computer."""

    device: str
    """What a target wants: `/dev/ttyUSB0`, `COM3`."""
    description: str | None = None
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    manufacturer: str | None = None
    known: str | None = None
    """What the USB id tells, one line; None where it tells nothing to us."""


def known_adapter(vid: int | None, pid: int | None) -> str | None:
    """Return what is known of a USB id, one line for a technician, or None."""
    if vid is None or pid is None:
        return None
    return KNOWN_DEVICES.get((vid, pid)) or KNOWN_VENDORS.get(vid)


def list_serial_ports() -> list[PortInfo]:
    """Return the ports, USB ones first, then by name. An empty list where the system cannot tell."""
    from serial.tools import list_ports

    try:
        found = list(list_ports.comports())
    except OSError:
        return []
    ports = [
        PortInfo(
            device=port.device,
            description=_text(port.description),
            vid=port.vid,
            pid=port.pid,
            serial_number=_text(port.serial_number),
            manufacturer=_text(port.manufacturer),
            known=known_adapter(port.vid, port.pid),
        )
        for port in found
    ]
    return sorted(ports, key=lambda port: (port.vid is None, _natural(port.device)))


def _text(value: str | None) -> str | None:
    """pyserial says "n/a" for what it does not know."""
    return value if value and value != "n/a" else None


def _natural(device: str) -> tuple[str, int]:
    """COM10 comes after COM9."""
    stem = device.rstrip("0123456789")
    number = device[len(stem) :]
    return stem, int(number) if number else -1
