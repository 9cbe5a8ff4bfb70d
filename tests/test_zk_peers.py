"""pyzk, as it is, talks to our simulated terminals: it reads what they hold, and what it writes they keep.

pyzk was written against real terminals by people we do not know; what it cannot do stands in section 11 of the wire
reference of the family.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lockmigrate.profiles import load_profile
from lockmigrate.sim import open_unit
from lockmigrate.sim.serve import ServedAt, serve

pytestmark = pytest.mark.peer

zk = pytest.importorskip("zk", reason="pyzk is not installed")

KEY = 1234567
TIMEOUT_S = 5
NEW_UID, NEW_FINGER = 900, 3


class Served:
    """A unit served by an event loop in a thread."""

    def __init__(self, profile: str, preset: str, *, udp: bool, **options: str) -> None:
        self.unit: Any = open_unit(load_profile(profile), preset, options)
        self.udp = udp
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(5)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        serving = serve(self.unit, tcp_port=None, pty=True, on_ready=self._on_ready, udp_port=0 if self.udp else None)
        self._task = asyncio.ensure_future(serving)
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def _on_ready(self, at: ServedAt) -> None:
        self.at = at
        self._ready.set()

    def stop(self) -> None:
        """End the service."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(5)
        assert not self._thread.is_alive()


def pyzk(served: Served, key: int, *, udp: bool = False, encoding: str = "UTF-8", timeout_s: float = TIMEOUT_S) -> Any:
    """Return pyzk's client, not yet connected."""
    client = zk.ZK(
        "127.0.0.1",
        port=served.at.port,
        timeout=timeout_s,
        password=key,
        force_udp=udp,
        ommit_ping=True,
        encoding=encoding,
    )
    client._ZK__sock.close()  # it makes one to start with, and forgets it when it connects
    return client


@contextlib.contextmanager
def connected(
    profile: str, preset: str = "full", *, udp: bool = False, key: int = 0, encoding: str = "UTF-8", **options: str
) -> Iterator[tuple[Any, Any]]:
    """Serve a unit and connect pyzk to it; yields the client and the unit."""
    if key:
        options["comm_key"] = str(key)
    served = Served(profile, preset, udp=udp, **options)
    try:
        client = pyzk(served, key, udp=udp, encoding=encoding)
        client.connect()
        try:
            yield client, served.unit
        finally:
            client.disconnect()
    finally:
        served.stop()


def held(unit: Any, encoding: str = "utf-8") -> list[tuple[Any, ...]]:
    """What a unit holds of its users, in pyzk's words (it invents names for people without one)."""
    people = []
    for record in unit.flash.users.values():
        wide = len(record) == 72
        uid, privilege = int.from_bytes(record[:2], "little"), record[2]
        password = record[3:11] if wide else record[3:8]
        name = (record[11:35] if wide else record[8:16]).split(b"\0")[0].decode(encoding, errors="ignore").strip()
        user_id = record[48:].split(b"\0")[0].decode() if wide else str(int.from_bytes(record[24:], "little"))
        card = int.from_bytes(record[35:39] if wide else record[16:20], "little")
        people.append((uid, name or f"NN-{user_id}", privilege, password.split(b"\0")[0].decode(), user_id, card))
    return people


def seen(client: Any) -> list[tuple[Any, ...]]:
    """What pyzk reads of the users."""
    return [
        (user.uid, user.name, user.privilege, user.password, user.user_id, user.card) for user in client.get_users()
    ]


def fingers(client: Any) -> dict[tuple[int, int], tuple[int, bytes]]:
    """What pyzk reads of the templates."""
    return {(finger.uid, finger.fid): (finger.valid, finger.template) for finger in client.get_templates()}


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("profile", ["zk", "zk-bw"])
def test_pyzk_reads_what_the_terminal_holds(profile: str, udp: bool) -> None:
    with connected(profile, udp=udp, key=KEY) as (client, unit):
        assert client.get_serialnumber() == unit.serial
        assert client.get_platform() == unit.flash.options["~Platform"]
        assert client.get_fp_version() == unit.settings.fp
        assert client.get_pin_width() == 9
        assert str(client.get_time()).startswith("2025-03-10 08:00")
        client.read_sizes()
        assert (client.users, client.fingers, client.records) == (40, 60, 30)
        assert seen(client) == held(unit)
        assert fingers(client) == unit.flash.templates
        assert len(client.get_attendance()) == 30
        assert unit.unlocked == 0


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("profile", ["zk", "zk-bw"])
def test_pyzk_writes_and_deletes_a_user_and_a_template(profile: str, udp: bool) -> None:
    with connected(profile, "half", udp=udp, key=KEY) as (client, unit):
        before = unit.image()
        client.disable_device()
        assert not unit.flash.enabled
        client.get_users()  # it learns the width of a record from them
        client.set_user(uid=NEW_UID, name="Neu", password="31", user_id="900", card=77)
        assert seen(client)[-1] == (NEW_UID, "Neu", 0, "31", "900", 77)
        template = next(template for _, template in unit.flash.templates.values() if not template.endswith(b"\0"))
        (user,) = [user for user in client.get_users() if user.uid == NEW_UID]
        client.save_user_template(user, [zk.base.Finger(NEW_UID, NEW_FINGER, 1, template)])
        assert unit.flash.templates[NEW_UID, NEW_FINGER] == (1, template)
        assert fingers(client) == unit.flash.templates
        assert client.get_user_template(NEW_UID, NEW_FINGER).template == template
        assert client.delete_user_template(uid=NEW_UID, temp_id=NEW_FINGER)
        assert (NEW_UID, NEW_FINGER) not in unit.flash.templates
        client.delete_user(uid=NEW_UID)
        assert unit.image() == before
        client.enable_device()
        assert unit.flash.enabled


def test_pyzk_is_kept_out_without_the_key() -> None:
    served = Served("zk", "empty", udp=False, comm_key=str(KEY))
    try:
        client = pyzk(served, KEY + 1)
        with pytest.raises(zk.exception.ZKErrorResponse, match="Unauthenticated"):
            client.connect()
        client._ZK__sock.close()
    finally:
        served.stop()


def test_pyzk_reads_names_in_gbk() -> None:
    with connected("zk", names="gbk", encoding="gbk") as (client, unit):
        assert "张伟" in [user[1] for user in seen(client)]
        assert seen(client) == held(unit, "gbk")


def test_pyzk_reads_a_paced_split_reply() -> None:
    """Section 11: back to back it hangs; 4 ms apart it does not."""
    with connected("zk", "half", bulk="split", pace="4") as (client, unit):
        assert fingers(client) == unit.flash.templates


def test_pyzk_loses_group_and_zones_of_whoever_it_saves() -> None:
    """Section 11, quirk 2: why our own driver writes raw records."""
    with connected("zk") as (client, unit):
        assert unit.flash.users[13][39:48] == bytes.fromhex("020100010002000000")
        (ned,) = [user for user in client.get_users() if user.uid == 13]
        client.save_user_template(ned, [])
        assert unit.flash.users[13][39] == 1
        assert unit.flash.users[13][42:48] == bytes(6)
