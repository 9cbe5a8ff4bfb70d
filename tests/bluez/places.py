"""Where BlueZ can be had: on this computer, or in a virtual machine that borrows its programs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bluez import guest

KERNEL_VARIABLE: Final = "LOCKMIGRATE_BLUEZ_KERNEL"
"""Names the kernel of the virtual machine, `…/boot/vmlinuz-VERSION`; without it, the newest one in /boot."""
ACCELERATOR_VARIABLE: Final = "LOCKMIGRATE_BLUEZ_ACCELERATOR"
"""`kvm` where that works, for the virtual machine; without it, `tcg`: emulation, which works everywhere."""
LIBEXEC: Final = ("/usr/libexec/bluetooth", "/usr/lib/bluetooth", "/usr/sbin", "/sbin")
"""Where distributions keep bluetoothd."""
COMMAND_LIMIT_S: Final = 150.0
LIMIT_S: Final = 420.0
"""For everything, the guest's start included."""
TAIL_BYTES: Final = 3000


class Missing(Exception):
    """There is no BlueZ to be had; the words say what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the commands are played."""

    bluetoothd: str
    kernel: guest.Kernel | None = None
    """The guest's; None: on this computer."""
    busybox: Path = Path()

    def play(self, folder: Path, hci_port: int, environment: dict[str, str], commands: dict[str, list[str]]) -> Any:
        """Play commands where Bluetooth is a controller of ours, and return code, stdout and stderr of each by name.

        Args:
            folder: the commands run in a copy of it, `stage.WORK`, which comes back as `left`; what the programs and
                the guest's console said is left here, too.
            hci_port: where a controller is to be had on this computer.
            environment: variables for the commands.
            commands: name to program and arguments.
        """
        plan = {
            "hci": guest.PORT if self.kernel else f"127.0.0.1:{hci_port}",
            "bluetoothd": self.bluetoothd,
            "environment": environment,
            "timeout_s": COMMAND_LIMIT_S,
            "commands": commands,
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        console = folder / "console.log"
        with console.open("wb") as said:
            process = subprocess.Popen(
                self._command(folder, hci_port), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"not done after {LIMIT_S:.0f} s\n{_tail(console)}") from None
            finally:
                process.kill()
                process.wait()
        answers = folder / "answers.json"
        assert answers.exists(), f"it ended before its time\n{_tail(console)}"
        told = json.loads(answers.read_text())
        assert told["error"] is None, f"{told['error']}\n{_tail(folder / 'bluetoothd.log')}\n{_tail(console)}"
        return told["commands"]

    def _command(self, folder: Path, hci_port: int) -> list[str]:
        if self.kernel is None:
            return [sys.executable, str(guest.STAGE), str(folder)]
        initrd = folder / "initrd"
        initrd.write_bytes(guest.initial_files(self.kernel, self.busybox, sys.executable))
        accelerator = os.environ.get(ACCELERATOR_VARIABLE) or "tcg"
        return guest.command(self.kernel, initrd, folder, hci_port, accelerator)


def find() -> Place:
    """Return where BlueZ is to be had.

    Raises:
        Missing: nowhere.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *LIBEXEC])
    bluetoothd = shutil.which("bluetoothd", path=path)
    lacking = [name for name in ("dbus-daemon", "dbus-send") if shutil.which(name) is None]
    if bluetoothd is None:
        lacking.insert(0, "bluetoothd")
    here = _not_here()
    if not here and bluetoothd and not lacking:
        return Place(bluetoothd=bluetoothd)
    lacking += [name for name in ("nice", "qemu-system-x86_64") if shutil.which(name) is None]
    if sys.platform != "linux" or platform.machine() != "x86_64":
        lacking.append("Linux on x86-64")
    busybox = shutil.which("busybox")
    if busybox is None or b"/ld-linux" in Path(busybox).read_bytes():
        lacking.append("a static busybox")
    kernel = _kernel()
    if kernel is None:
        lacking.append(f"a kernel with hci_vhci and its modules (in /boot, or named in {KERNEL_VARIABLE})")
    if lacking or bluetoothd is None or busybox is None:
        raise Missing(f"{here or 'BlueZ is not here'}; missing for a virtual machine: {', '.join(lacking)}")
    return Place(bluetoothd=bluetoothd, kernel=kernel, busybox=Path(busybox))


def _not_here() -> str:
    """Return why this computer itself is no place; empty if it is."""
    if not os.access("/dev/vhci", os.R_OK | os.W_OK):
        return "there is no /dev/vhci that we may open"
    if os.geteuid() != 0:
        return "bluetoothd needs root"
    if any(Path("/sys/class/bluetooth").glob("hci*")):
        return "this computer has a Bluetooth adapter, which would be used instead of ours"
    return ""


def _kernel() -> guest.Kernel | None:
    named = os.environ.get(KERNEL_VARIABLE)
    images = [Path(named)] if named else sorted(Path("/boot").glob("vmlinuz-*"), key=_version, reverse=True)
    return next((kernel for image in images if os.access(image, os.R_OK) and (kernel := guest.kernel_at(image))), None)


def _version(image: Path) -> list[int]:
    return [int(part) for part in image.name.replace("-", ".").replace("+", ".").split(".") if part.isdigit()]


def _tail(file: Path) -> str:
    return file.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if file.exists() else f"{file.name}: nothing"
