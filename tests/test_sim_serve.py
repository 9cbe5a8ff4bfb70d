"""Simulated units served to other programs, over a pseudo terminal and TCP: to pyserial and to published clients."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from lockmigrate.errors import ConfigError, ConnectError, FileTrouble
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import ServedAt, serve, serve_pty, serve_tcp
from lockmigrate.sim.unit import SimulatedUnit

VERIFY = bytes.fromhex("ef01ffffffff 01 0007 13 00000000 001b")
COUNT = bytes.fromhex("ef01ffffffff 01 0003 1d 0021")
LOAD_0 = bytes.fromhex("ef01ffffffff 01 0006 07 01 0000 000f")
UP_1 = bytes.fromhex("ef01ffffffff 01 0004 08 01 000e")
EMPTY = bytes.fromhex("ef01ffffffff 01 0003 0d 0011")
DONE = bytes.fromhex("ef01ffffffff 07 0003 00 000a")
COUNTED_3 = bytes.fromhex("ef01ffffffff 07 0005 00 0003 000f")

needs_pty = pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo terminals")


class Served:
    """A unit served by an event loop in a thread."""

    def __init__(self, unit: SimulatedUnit, *, pty: bool) -> None:
        self.unit = unit
        self.result: str | None = None
        self._ready = threading.Event()
        self._pty = pty
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(5)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(serve(self.unit, tcp_port=None, pty=self._pty, on_ready=self._on_ready))
        with contextlib.suppress(asyncio.CancelledError):
            self.result = await self._task

    def _on_ready(self, at: ServedAt) -> None:
        self.at = at
        self._ready.set()

    @property
    def port(self) -> str:
        """What pyserial opens."""
        return self.at.target.removeprefix("serial://")

    def ended(self) -> str | None:
        """Wait until the service has ended by itself."""
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self.result

    def stop(self) -> None:
        """End the service."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(5)
        assert not self._thread.is_alive()


Serve = Callable[..., Served]


@pytest.fixture(params=[pytest.param("pty", marks=needs_pty), "tcp"])
def medium(request: pytest.FixtureRequest) -> str:
    """Both ways of serving."""
    return str(request.param)


@pytest.fixture
def start(medium: str) -> Iterator[Serve]:
    """Serve a unit until the test is over."""
    running: list[Served] = []

    def begin(profile: str = "r503", preset: str = "full", **options: str) -> Served:
        running.append(Served(open_unit(load_profile(profile), preset, options), pty=medium == "pty"))
        return running[-1]

    yield begin
    for served in running:
        served.stop()


def plugged(served: Served, *, baud: int = 57600, timeout_s: float = 2.0) -> serial.Serial:
    """Open the unit as any program would."""
    port: serial.Serial = serial.serial_for_url(served.port, baudrate=baud, timeout=timeout_s)
    return port


def test_the_target_says_where_it_is(start: Serve, medium: str) -> None:
    at = start().at
    if medium == "pty":
        assert at.target == f"serial://{at.device}"
        assert at.port is None
        assert Path(str(at.device)).exists()
    else:
        assert at.target == f"serial://socket://127.0.0.1:{at.port}"
        assert at.device is None


def test_clients_come_and_go(start: Serve) -> None:
    served = start(slots="3")
    for _ in range(3):
        with plugged(served) as port:
            port.write(VERIFY)
            assert port.read(12) == DONE
            port.write(COUNT)
            assert port.read(14) == COUNTED_3


def test_a_command_written_byte_by_byte_is_understood(start: Serve) -> None:
    with plugged(start()) as port:
        for byte in VERIFY:
            port.write(bytes([byte]))
        assert port.read(12) == DONE


def test_paced_answers_take_the_time_of_the_line(start: Serve) -> None:
    with plugged(start(pace="1")) as port:
        port.write(LOAD_0)
        assert port.read(12) == DONE
        begun_s = time.monotonic()
        port.write(UP_1)
        assert len(port.read(12 + 12 * 139)) == 12 + 12 * 139
        taken_s = time.monotonic() - begun_s
    exact_s = (13 + 12 + 12 * 139) * 10 / 57600
    assert exact_s * 0.99 < taken_s < exact_s * 1.5


def test_a_late_answer_comes_late(start: Serve) -> None:
    with plugged(start(delay="out:frame:1:0.2")) as port:
        begun_s = time.monotonic()
        port.write(VERIFY)
        assert port.read(12) == DONE
        assert 0.19 < time.monotonic() - begun_s < 1.5


def test_an_answer_that_nobody_reads_does_not_stop_the_server(start: Serve) -> None:
    served = start("r307", slots="4", template_size="16384", packet="32")
    with plugged(served) as port:
        port.write(LOAD_0)
        port.read(12)
        port.write(UP_1)
        time.sleep(0.05)
        assert len(port.read(12 + 512 * 43)) == 12 + 512 * 43


@needs_pty
@pytest.mark.parametrize("medium", ["pty"], indirect=True)
@pytest.mark.parametrize("baud", [9600, 28800, 57600, 115200])
def test_a_pseudo_terminal_understands_only_the_speed_of_the_unit(start: Serve, baud: int) -> None:
    served = start(baud=str(baud))
    with plugged(served, baud=19200, timeout_s=0.05) as port:
        port.write(VERIFY)
        assert port.read(12) == b""
        port.baudrate = baud
        port.timeout = 2.0
        port.write(VERIFY)
        assert port.read(12) == DONE


@needs_pty
@pytest.mark.parametrize("medium", ["pty"], indirect=True)
def test_a_cut_ends_a_pseudo_terminal_and_what_reads_from_it(start: Serve) -> None:
    served = start(cut="out:byte:300")
    port = plugged(served)
    got = b""
    with contextlib.suppress(serial.SerialException):
        port.write(LOAD_0 + UP_1)
        got = port.read(5000)
        port.read(1)
        pytest.fail("the port still works")
    assert len(got) <= 300
    assert served.ended() == "cut"
    with contextlib.suppress(OSError):
        port.close()


@pytest.mark.parametrize("medium", ["tcp"], indirect=True)
def test_a_cut_on_tcp_closes_the_client_and_the_next_finds_the_unit_alive(start: Serve) -> None:
    served = start(cut="out:byte:300")
    with socket.create_connection(("127.0.0.1", served.at.port or 0), timeout=2) as client:
        client.sendall(LOAD_0)
        assert client.recv(12) == DONE
        client.sendall(UP_1)
        got = b""
        while chunk := client.recv(4096):
            got += chunk
        assert len(got) == 300 - 12
    with plugged(served) as port:
        port.write(VERIFY)
        assert port.read(12) == DONE


@pytest.mark.parametrize("medium", ["tcp"], indirect=True)
def test_a_second_tcp_client_is_sent_away(start: Serve) -> None:
    served = start()
    address = ("127.0.0.1", served.at.port or 0)
    with socket.create_connection(address, timeout=2) as first:
        first.sendall(VERIFY)
        assert first.recv(12) == DONE
        with socket.create_connection(address, timeout=2) as second:
            assert second.recv(1) == b""
        first.sendall(VERIFY)
        assert first.recv(12) == DONE


def test_only_this_machine_may_be_listened_on() -> None:
    unit = open_unit(load_profile("r503"), "empty")
    with pytest.raises(ConfigError):
        asyncio.run(serve_tcp(unit, "0.0.0.0", 0, lambda _: None))  # noqa: S104 - what must be refused


def test_a_taken_port_is_an_error() -> None:
    unit = open_unit(load_profile("r503"), "empty")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConnectError, match="cannot listen"):
        asyncio.run(serve_tcp(unit, "127.0.0.1", taken.getsockname()[1], lambda _: None))


@pytest.mark.parametrize("turns", range(6))
def test_a_client_that_comes_while_the_service_ends_leaves_no_open_socket(turns: int) -> None:
    async def scenario() -> None:
        found: list[ServedAt] = []
        unit = open_unit(load_profile("r503"), "empty")
        serving = asyncio.ensure_future(serve_tcp(unit, "127.0.0.1", 0, found.append))
        await asyncio.sleep(0.01)
        clients = [socket.create_connection(("127.0.0.1", found[0].port)) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        for client in clients:
            client.close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        asyncio.run(scenario())
        gc.collect()
    assert [str(item.message) for item in seen if item.category is ResourceWarning] == []


@needs_pty
def test_a_state_file_that_cannot_be_written_ends_the_service(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    unit = open_unit(load_profile("r503"), "full", {"slots": "3"}, state=folder / "unit.state")
    (folder / "unit.state").unlink()
    folder.rmdir()

    async def scenario() -> None:
        found: list[ServedAt] = []
        serving = asyncio.ensure_future(serve_pty(unit, found.append))
        await asyncio.sleep(0)
        with plugged_fd(str(found[0].device)) as descriptor:
            os.write(descriptor, EMPTY)
            await serving

    with pytest.raises(FileTrouble, match="cannot write the state file"):
        asyncio.run(scenario())


@contextlib.contextmanager
def plugged_fd(path: str) -> Iterator[int]:
    """Open a terminal as a plain file, at the speed it has."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# ---- in a process of its own -----------------------------------------------------------------------------------------

SERVER = """
import asyncio, sys
from pathlib import Path
from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import serve
unit = open_unit(load_profile("r503"), "full", {"slots": "3"}, state=Path(sys.argv[1]))
ready = lambda at: print(at.target, flush=True)
print(asyncio.run(serve(unit, tcp_port=0, pty=False, on_ready=ready)), flush=True)
"""


def in_a_process(state: Path) -> tuple[subprocess.Popen[str], str]:
    """Serve a unit of three slots over TCP from another process."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip().removeprefix("serial://")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program can catch")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_service_cleanly(tmp_path: Path, number: str) -> None:
    process, _ = in_a_process(tmp_path / "unit.state")
    with process:
        process.send_signal(getattr(signal, number))
        output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == ("stopped\n", 0)


def test_a_killed_server_forgets_nothing(tmp_path: Path) -> None:
    state = tmp_path / "unit.state"
    process, url = in_a_process(state)
    with process:
        with serial.serial_for_url(url, timeout=5) as port:
            port.write(EMPTY)
            assert port.read(12) == DONE
            process.kill()
        process.communicate(timeout=10)
    assert open_unit(load_profile("r503"), "full", state=state).flash.templates == {}


# ---- published clients, as they are ----------------------------------------------------------------------------------


def adafruit(port: serial.Serial) -> Any:
    """Return Adafruit's driver on an open port."""
    module = pytest.importorskip("adafruit_fingerprint", reason="adafruit-circuitpython-fingerprint is not installed")
    return module.Adafruit_Fingerprint(port)


@pytest.mark.peer
@needs_pty
@pytest.mark.parametrize("medium", ["pty"], indirect=True)
@pytest.mark.parametrize(("profile", "options"), [("r503", {}), ("zfm-20", {}), ("as608", {"pace": "1"})])
def test_pyfingerprint_reads_and_writes_a_unit(start: Serve, profile: str, options: dict[str, str]) -> None:
    module = pytest.importorskip("pyfingerprint.pyfingerprint", reason="pyfingerprint is not installed")
    served = start(profile, **{"slots": "20", "fill": "5", "finger": "2", **options})
    templates = served.unit.flash.templates
    client = module.PyFingerprint(served.port, 57600, 0xFFFFFFFF, 0x00000000)
    try:
        assert client.verifyPassword()
        assert (client.getStorageCapacity(), client.getSecurityLevel(), client.getMaxPacketSize()) == (20, 3, 128)
        assert client.getTemplateCount() == 5
        listed = client.getTemplateIndex(0)
        assert [slot for slot, used in enumerate(listed) if used] == sorted(templates)
        for slot in sorted(templates):
            assert client.loadTemplate(slot, 0x01)
            assert bytes(client.downloadCharacteristics(0x01)) == templates[slot]
        free = min(set(range(20)) - set(templates))
        moved = bytes(reversed(templates[min(templates)]))
        assert client.uploadCharacteristics(0x01, list(moved))
        assert client.storeTemplate(free, 0x01) == free
        assert templates[free] == moved
        assert client.deleteTemplate(free)
        assert free not in templates
        assert client.readImage()
        client.convertImage(0x01)
        assert client.searchTemplate()[0] == (2 if 2 in templates else -1)
        assert len(f"{client.generateRandomNumber():x}") <= 8
        assert client.clearDatabase()
        assert templates == {}
    finally:
        del client


@pytest.mark.peer
@pytest.mark.parametrize("profile", ["r503", "r307-768"])
def test_adafruits_driver_reads_and_writes_a_unit(start: Serve, profile: str) -> None:
    served = start(profile, slots="20", fill="5")
    templates = served.unit.flash.templates
    with plugged(served) as port:
        client = adafruit(port)
        assert (client.library_size, client.data_packet_size, client.baudrate) == (20, 2, 6)
        assert client.count_templates() == 0
        assert client.template_count == 5
        assert client.read_templates() == 0
        assert client.templates == sorted(templates)
        for slot in sorted(templates):
            assert client.load_model(slot) == 0
            assert bytes(client.get_fpdata("char", 1)) == templates[slot]
        free = min(set(range(20)) - set(templates))
        moved = bytes(reversed(templates[min(templates)]))
        assert client.send_fpdata(list(moved), "char", 1)
        assert client.store_model(free) == 0
        assert templates[free] == moved
        assert client.load_model(free) == 0
        assert bytes(client.get_fpdata("char", 1)) == moved
        if profile == "r503":
            client.soft_reset()
        else:
            assert client.check_module()


@pytest.mark.peer
def test_adafruits_driver_moves_templates_of_a_hilink_module(start: Serve) -> None:
    served = start("hlk-zw101", slots="20", fill="5")
    with plugged(served) as port:
        client = adafruit(port)
        slot, template = min(served.unit.flash.templates.items())
        assert client.load_model(slot, 2) == 0
        assert bytes(client.get_fpdata("char", 2)) == template
        assert client.send_fpdata(list(template), "char", 1)
        assert client.store_model(19) == 0
        assert served.unit.flash.templates[19] == template


@pytest.mark.peer
def test_adafruits_driver_meets_the_unsolicited_01_of_a_damaged_packet(start: Serve) -> None:
    """What the reference reports of it (section 11): it takes that 01 for the answer to Store."""
    served = start(preset="empty", flip="in:frame:5")
    with plugged(served) as port:
        client = adafruit(port)
        assert client.send_fpdata(list(bytes(1536)), "char", 1)
        assert client.store_model(0) == 1
