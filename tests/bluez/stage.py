"""Plays the commands of a plan where Bluetooth is BlueZ on a controller of ours, and writes the answers down.

Runs as root where there is /dev/vhci: in the guest of `places`, or on this computer. Starts a D-Bus and a bluetoothd of
its own. The commands run in a copy of FOLDER, as SQLite cannot keep its files on one shared with a guest, and what they
leave comes back. Standard library only. Usage: stage.py FOLDER, with FOLDER/plan.json; see `places.Place.play`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/><allow own="*"/>
</policy></busconfig>
"""
OWN: Final = Path("/run/lockmigrate-bluez")
WORK: Final = OWN / "work"
"""Where the commands run."""
ADAPTERS: Final = Path("/sys/class/bluetooth")
POWER_ON: Final = (
    "dbus-send", "--system", "--print-reply", "--dest=org.bluez", "/org/bluez/hci0",
    "org.freedesktop.DBus.Properties.Set", "string:org.bluez.Adapter1", "string:Powered", "variant:boolean:true",
)  # fmt: skip
"""bluez/bluez, doc/org.bluez.Adapter.rst."""
WAIT_S: Final = 60.0
"""For each thing that has to come up: an emulated processor is some twenty times slower."""


def main() -> None:
    """Set the stage, play, and always leave the answers behind."""
    folder = Path(sys.argv[1])
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    answers: dict[str, Any] = {"error": None, "commands": {}}
    try:
        with contextlib.ExitStack() as stack:
            OWN.mkdir()
            stack.callback(shutil.rmtree, OWN)
            shutil.copytree(folder, WORK, ignore=shutil.ignore_patterns("initrd", "*.log"))
            _set(folder, plan, stack)
            for name, command in plan["commands"].items():
                answers["commands"][name] = _play(command, plan)
            shutil.copytree(WORK, folder / "left")
    except Exception as error:  # noqa: BLE001  # whatever it is, the test on the other side is to read it
        answers["error"] = f"{type(error).__name__}: {error}"
    written = folder / "answers.new"
    written.write_text(json.dumps(answers))
    written.rename(folder / "answers.json")


def _set(folder: Path, plan: dict[str, Any], stack: contextlib.ExitStack) -> None:
    """Start D-Bus, bluetoothd and the controller, and switch the adapter on."""
    config, socket = OWN / "bus.conf", OWN / "bus"
    config.write_text(BUS.format(path=socket))
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={socket}"
    stack.enter_context(_program(folder, "dbus-daemon", f"--config-file={config}", "--nofork"))
    _until(socket.exists, "D-Bus did not come up")
    if shutil.which("btmon"):
        stack.callback(lambda: shutil.copyfile(OWN / "btmon", folder / "btmon.trace"))
        stack.enter_context(_program(folder, "btmon", "--write", str(OWN / "btmon")))
    stack.enter_context(_program(folder, plan["bluetoothd"], "--nodetach"))
    stack.enter_context(_program(folder, sys.executable, str(Path(__file__).with_name("bridge.py")), plan["hci"]))
    _until(lambda: any(ADAPTERS.glob("hci*")), "the kernel got no controller")
    _until(_powered, "bluetoothd did not power the adapter")


def _powered() -> bool:
    return subprocess.run(POWER_ON, capture_output=True, check=False).returncode == 0


def _play(command: list[str], plan: dict[str, Any]) -> dict[str, Any]:
    began_s = time.monotonic()
    environment = {**os.environ, **plan["environment"]}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=plan["timeout_s"], cwd=WORK, env=environment, check=False
        )
        answer = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    except subprocess.TimeoutExpired as error:
        answer = {"code": None, "stdout": str(error.stdout), "stderr": str(error.stderr)}
    return {**answer, "took_s": round(time.monotonic() - began_s, 1)}


@contextlib.contextmanager
def _program(folder: Path, *command: str) -> Iterator[None]:
    """Run a program for as long as the stage stands; what it says goes to FOLDER/NAME.log."""
    name = Path(command[1] if command[0] == sys.executable else command[0]).stem
    with (folder / f"{name}.log").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _until(true: Callable[[], bool], otherwise: str) -> None:
    until_s = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > until_s:
            raise TimeoutError(otherwise)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
