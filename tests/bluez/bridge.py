"""A Bluetooth controller for this system's kernel: what goes through /dev/vhci is carried to a controller elsewhere.

Standard library only. Usage: bridge.py HOST:PORT | bridge.py NAME (of a virtio port)
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

VHCI: Final = "/dev/vhci"
PRIMARY_CONTROLLER: Final = b"\xff\x00"
"""Asks vhci for a controller: packet type 0xff and the kind (Linux, drivers/bluetooth/hci_vhci.c)."""
VENDOR: Final = 0xFF
CHUNK_BYTES: Final = 4096
LENGTHS: Final = {0x01: (2, 1), 0x02: (2, 2), 0x03: (2, 1), 0x04: (1, 1), 0x05: (2, 2)}
"""Packet type (Core 5.4, Vol 4 Part A, 2) to where its length stands behind it, and how many bytes that takes
(Vol 4 Part E, 5.4): commands, ACL data, synchronous data, events, isochronous data."""


class Packets:
    """Cuts a stream of bytes into HCI packets, each with its type: vhci takes one packet a write."""

    def __init__(self) -> None:
        self._left = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what came and yield the packets that are whole.

        Raises:
            ValueError: no packet begins like this.
        """
        self._left += data
        while self._left:
            if self._left[0] not in LENGTHS:
                raise ValueError(f"no HCI packet begins with {self._left[0]:#04x}")
            at, size = LENGTHS[self._left[0]]
            header = 1 + at + size
            if len(self._left) < header:
                return
            count = int.from_bytes(self._left[1 + at : header], "little")
            if self._left[0] == 0x05:
                count &= 0x3FFF  # the two top bits are reserved (5.4.5)
            if len(self._left) < header + count:
                return
            yield bytes(self._left[: header + count])
            del self._left[: header + count]


def _open(place: str) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
    """Return how to read from the controller and how to write to it."""
    host, colon, port = place.rpartition(":")
    if colon:
        connected = socket.create_connection((host, int(port)))
        return lambda: connected.recv(CHUNK_BYTES), connected.sendall
    device = os.open(_virtio_port(place), os.O_RDWR)
    return lambda: os.read(device, CHUNK_BYTES), lambda data: _write_all(device, data)


def _virtio_port(name: str) -> Path:
    """Return the device of the port that the machine outside calls so."""
    for about in Path("/sys/class/virtio-ports").glob("*/name"):
        if about.read_text().strip() == name:
            return Path("/dev", about.parent.name)
    raise FileNotFoundError(f"there is no virtio port {name}")


def _write_all(device: int, data: bytes) -> None:
    while data:
        data = data[os.write(device, data) :]


def main() -> None:
    """Carry packets both ways until either side ends."""
    read, write = _open(sys.argv[1])
    vhci = os.open(VHCI, os.O_RDWR)
    os.write(vhci, PRIMARY_CONTROLLER)

    def to_controller() -> None:
        while packet := os.read(vhci, CHUNK_BYTES):  # one packet a read
            if packet[0] != VENDOR:  # else vhci says which number our controller has
                write(packet)
        os._exit(0)

    threading.Thread(target=to_controller, daemon=True).start()
    packets = Packets()
    while data := read():
        for packet in packets.feed(data):
            os.write(vhci, packet)


if __name__ == "__main__":
    main()
