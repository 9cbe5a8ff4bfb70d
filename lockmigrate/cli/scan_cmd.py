"""`scan`: the ports where a unit may be and the locks heard on Bluetooth, each as a target that can be pasted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.model.results import PortSeen, ScanResult
    from lockmigrate.transports.ports import PortInfo


LISTEN_S = 5.0
"""A lock advertises every one to two seconds (Nuki in its slowest mode); ours."""


@click.command("scan", short_help="list the ports and the Bluetooth locks in reach")
@click.option("--for", "duration_s", type=click.FloatRange(0, 600), default=LISTEN_S, metavar="SECONDS",
              help="How long to listen for Bluetooth locks; 0 for not at all.")  # fmt: skip
@click.option("--hci", metavar="STRING", help="Listen through this controller (Bumble's notation, such as usb:0).")
@common
async def scan(ctx: Context, duration_s: float, hci: str | None) -> ScanResult:
    """List the serial ports of this computer and the locks heard on Bluetooth, each as a target for other commands.

    No port is opened and no lock is connected to: what is behind a target, "info" says. A lock on Bluetooth opens only
    to whom it knows: "pair" introduces this computer.

    \b
    Examples:
      lockmigrate scan
      lockmigrate scan --for 20
      lockmigrate info serial:///dev/ttyUSB0
    """
    from lockmigrate.cli.progress import drain
    from lockmigrate.model.results import ScanResult
    from lockmigrate.operations.scan import locks_in_reach
    from lockmigrate.targets_ble import HCI_VARIABLE
    from lockmigrate.transports.ports import list_serial_ports

    ports = tuple(_seen(port) for port in list_serial_ports())
    if not duration_s:
        return ScanResult(ports=ports)
    controller = hci or os.environ.get(HCI_VARIABLE) or None
    locks, why = await drain(locks_in_reach(duration_s, hci=controller, named=hci is not None), ctx.common)
    return ScanResult(ports=ports, locks=locks, bluetooth=why)


def target_of(device: str) -> str:
    """Return the target of a port; only what a target would read otherwise is escaped."""
    return f"serial://{quote(device, safe='/:.-_~#+@,()[]{}!*')}"


def _seen(port: PortInfo) -> PortSeen:
    from lockmigrate.model.results import PortSeen

    usable = os.name != "posix" or os.access(port.device, os.R_OK | os.W_OK)
    usb_id = None if port.vid is None or port.pid is None else f"{port.vid:04x}:{port.pid:04x}"
    about = " ".join(part for part in (port.manufacturer, port.description) if part)
    return PortSeen(
        target=target_of(port.device),
        description=about,
        usb_id=usb_id,
        serial=port.serial_number,
        known=port.known,
        usable=usable,
        why=None if usable else "no permission; add yourself to the port's group (often dialout) and log in again",
    )
