"""The trace of a Bluetooth connection: every channel in one file, and no burden on what it records."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ble_echo import ADDRESS, ANSWER, CLOSED, COMMAND, COMMANDS, EVENT, INFO, REQUEST, REQUESTS, EchoUnit

from lockmigrate.errors import FileTrouble, LinkClosed, LinkLost, RefusedError, Unsupported
from lockmigrate.transports import Link
from lockmigrate.transports.gatt import Channel, Connection
from lockmigrate.transports.memory import LinkFaults
from lockmigrate.transports.memory_ble import MemoryConnection
from lockmigrate.transports.trace import TraceConnection


def traced(file: Path, faults: LinkFaults | None = None) -> TraceConnection:
    clock = asyncio.get_running_loop().time
    return TraceConnection(MemoryConnection.open(EchoUnit(), faults=faults), file, clock=clock)


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def test_everything_is_on_file_with_direction_channel_and_time(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    connection = traced(file)
    assert isinstance(connection, Connection)
    assert connection.advertised.address == ADDRESS
    assert EVENT in connection.characteristics
    commands, requests = await connection.link(COMMANDS), await connection.link(REQUESTS)
    assert isinstance(commands, Link)
    assert await connection.link(COMMANDS) is commands
    assert commands.max_write == 244
    assert await connection.value(INFO) == b"echo 1"
    await commands.write(b"D\x01\xf4\x2a")
    assert await commands.read() == b"\x2a"
    await requests.write(b"E\x01")
    assert await requests.read() == b"\x01"
    await commands.close()
    await connection.close()
    got = entries(file)
    assert [(it["dir"], it.get("hex", it.get("event")), it.get("channel")) for it in got] == [
        ("event", "open", None),
        ("event", "subscribe", EVENT),
        ("event", "subscribe", ANSWER),
        ("rx", b"echo 1".hex(), INFO),
        ("tx", "4401f42a", COMMAND),
        ("rx", "2a", EVENT),
        ("tx", "4501", REQUEST),
        ("rx", "01", ANSWER),
        ("event", "unsubscribe", EVENT),
        ("event", "close", None),
    ]
    assert got[5]["t"] - got[4]["t"] == pytest.approx(0.5)
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_failures_are_on_file_and_go_on_to_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    connection = traced(file, LinkFaults(cut_after_writes=1))
    with pytest.raises(Unsupported):
        await connection.link(Channel(write=COMMAND, notify=INFO, response=False))
    with pytest.raises(RefusedError):
        await connection.value(CLOSED)
    link = await connection.link(REQUESTS)
    with pytest.raises(RefusedError):
        await link.write(b"R\x80")
    with pytest.raises(LinkLost):
        await link.read()
    with pytest.raises(LinkLost):
        await link.write(b"E1")
    await connection.close()
    with pytest.raises(LinkClosed):
        await link.read()  # the file is closed, and nothing comes of that
    events = [it["event"] for it in entries(file) if it["dir"] == "event"]
    assert events == [
        "open",
        "subscribe failed: unsupported-by-unit",
        "read failed: refused",
        "subscribe",
        "write failed: refused",
        "read failed: link-lost",
        "write failed: link-lost",
        "close",
    ]


async def test_a_link_that_is_opened_again_after_its_close_is_recorded_again(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    connection = traced(file)
    first = await connection.link(COMMANDS)
    await first.close()
    second = await connection.link(COMMANDS)
    assert second is not first
    await second.write(b"E1")
    assert await second.read() == b"1"
    await connection.close()
    assert [it["event"] for it in entries(file) if it["dir"] == "event"].count("subscribe") == 2


async def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("precious", encoding="utf-8")
    connection = MemoryConnection.open(EchoUnit())
    with pytest.raises(FileTrouble):
        TraceConnection(connection, file)
    await connection.close()
    assert file.read_text(encoding="utf-8") == "precious"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the always full disk")
async def test_a_full_disk_stops_the_record_and_not_the_conversation(tmp_path: Path) -> None:
    connection = traced(tmp_path / "trace.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, connection._fd or -1)
    os.close(full)
    link = await connection.link(COMMANDS)
    await link.write(b"E1")
    assert await link.read() == b"1"
    assert connection.trouble is not None
    assert "ends early" in str(connection.trouble)
    await connection.close()
