"""`scan`: the ports where a unit may be, each as a target that can be pasted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from lockmigrate.cli.options import Context, common

if TYPE_CHECKING:
    from lockmigrate.model.results import PortSeen, ScanResult
    from lockmigrate.transports.ports import PortInfo


@click.command("scan", short_help="list the ports where a unit may be")
@common
def scan(ctx: Context) -> ScanResult:
    """List the serial ports of this computer, each as a target for the other commands.

    Nothing is opened and nothing is sent: what is behind a port, "info" says.

    \b
    Examples:
      lockmigrate scan
      lockmigrate info serial:///dev/ttyUSB0
    """
    from lockmigrate.model.results import ScanResult
    from lockmigrate.transports.ports import list_serial_ports

    return ScanResult(ports=tuple(_seen(port) for port in list_serial_ports()))


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
