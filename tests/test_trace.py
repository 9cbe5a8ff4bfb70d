"""The trace: complete, private, and no burden on what it records."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lockmigrate.errors import FileTrouble, LinkLost
from lockmigrate.transports import Link, Outgoing, SerialLink
from lockmigrate.transports.memory import LinkFaults, MemoryLink
from lockmigrate.transports.trace import TraceLink


class Answer:
    """A device that answers every write with one byte more, half a second later."""

    def opened(self, now_s: float) -> list[Outgoing]:
        return []

    def receive(self, data: bytes, now_s: float) -> list[Outgoing]:
        return [Outgoing(at_s=now_s + 0.5, data=data + b"\x00")]

    def set_host_baud(self, baud: int | None) -> None: ...

    def closed(self) -> None: ...


class Plain:
    """A link whose speed cannot be changed."""

    max_write = 20

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> bytes:
        return b"x"

    async def close(self) -> None: ...


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def test_everything_is_on_file_with_direction_and_time(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    loop = asyncio.get_running_loop()
    link = TraceLink(MemoryLink.open(Answer()), file, clock=loop.time)
    assert isinstance(link, SerialLink)
    await link.write(b"\xef\x01")
    assert await link.read() == b"\xef\x01\x00"
    await link.set_baud(9600)
    assert link.discard() == 0
    await link.close()
    assert [(entry["dir"], entry.get("hex", entry.get("event"))) for entry in entries(file)] == [
        ("event", "open"),
        ("tx", "ef01"),
        ("rx", "ef0100"),
        ("event", "set baud 9600"),
        ("event", "discard 0 bytes"),
        ("event", "close"),
    ]
    assert [entry["t"] for entry in entries(file)] == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.5])


async def test_every_line_is_on_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    link = TraceLink(MemoryLink.open(Answer()), file)
    await link.write(b"\x01")
    assert entries(file)[-1]["hex"] == "01"
    await link.close()


@pytest.mark.skipif(os.name != "posix", reason="file modes exist only on POSIX")
async def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    before = os.umask(0)
    try:
        link = TraceLink(Plain(), file)
    finally:
        os.umask(before)
    await link.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_an_existing_file_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("older", encoding="utf-8")
    with pytest.raises(FileTrouble, match="exists already") as caught:
        TraceLink(Plain(), file)
    assert caught.value.hint is not None
    assert file.read_text(encoding="utf-8") == "older"


async def test_a_missing_folder_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(FileTrouble, match="cannot be created"):
        TraceLink(Plain(), tmp_path / "nowhere" / "trace.jsonl")


async def test_around_a_plain_link_it_is_a_plain_link(tmp_path: Path) -> None:
    link = TraceLink(Plain(), tmp_path / "trace.jsonl")
    assert isinstance(link, Link)
    assert not isinstance(link, SerialLink)
    assert link.max_write == 20
    await link.close()


async def test_a_lost_link_is_on_file(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    link = TraceLink(MemoryLink.open(Answer(), faults=LinkFaults(cut_after_writes=0)), file)
    with pytest.raises(LinkLost):
        await link.write(b"\x01")
    with pytest.raises(LinkLost):
        await link.read()
    await link.close()
    assert [entry["event"] for entry in entries(file) if entry["dir"] == "event"] == [
        "open",
        "write failed: link-lost",
        "read failed: link-lost",
        "close",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the always full disk")
async def test_a_full_disk_stops_the_record_and_not_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = TraceLink(MemoryLink.open(Answer()), tmp_path / "trace.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, link._fd or -1)
    os.close(full)
    await link.write(b"\x01")
    assert await link.read() == b"\x01\x00"
    assert link.trouble is not None
    assert "ends early" in str(link.trouble)
    await link.close()
    await link.close()


async def test_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = TraceLink(MemoryLink.open(Answer()), tmp_path / "trace.jsonl")
    await link.write(b"\x01")
    await link.close()
    assert capsys.readouterr() == ("", "")
