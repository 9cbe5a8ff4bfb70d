"""How fast age files are written and read beside Debian's `age`, and how long sealing and opening a backup takes.

Files go from disk to disk, one run, the two programs by turns, medians. Ours is measured inside one process, after its
imports: the interpreter's start is not in it. `age` is a process of its own each time; what it takes to start and do
nothing is printed beside it, so that the reader can take it off. The backup is that of a simulated module with 200
templates of 512 bytes, for one recipient, with its keys unlocked; opening does every check that a file can be checked
for by itself (size, age, archive, signature, manifest, digests).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockmigrate.formats import age, sshsig
from lockmigrate.formats.backup import open_backup, seal
from lockmigrate.model.document import to_sections
from lockmigrate.operations.reading import Reading, read_unit
from lockmigrate.profiles import load_profile
from lockmigrate.protocols.ef01_door import Ef01Door, open_module
from lockmigrate.sim import open_unit
from lockmigrate.transports.memory import MemoryLink


def seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def report(what: str, ours: list[float], theirs: list[float], megabytes: float) -> None:
    mine, other = statistics.median(ours), statistics.median(theirs) if theirs else None
    line = f"{what:8} lockmigrate {mine * 1000:7.1f} ms ({megabytes / mine:5.0f} MB/s)"
    if other is not None:
        line += f"   age {other * 1000:7.1f} ms ({megabytes / other:5.0f} MB/s)   age / ours {other / mine:4.2f}"
    print(line)


def files(folder: Path, megabytes: int, rounds: int) -> None:
    secret = age.generate_identity()
    recipient = age.recipient_of(secret)
    plain, key = folder / "plain", folder / "key.txt"
    key.write_text(secret + "\n", encoding="ascii")
    key.chmod(0o600)
    with plain.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    program = shutil.which("age")

    def encrypt() -> None:
        with plain.open("rb") as source, (folder / "ours.age").open("wb") as sink:
            age.encrypt(source, sink, [recipient])

    def decrypt() -> None:
        with (folder / "ours.age").open("rb") as source, (folder / "ours").open("wb") as sink:
            age.decrypt(source, sink, [secret])

    def run(*arguments: str | Path) -> Callable[[], object]:
        return lambda: subprocess.run([program or "age", *arguments], check=True, capture_output=True)

    theirs = {
        "encrypt": run("-r", recipient, "-o", folder / "theirs.age", plain),
        "decrypt": run("-d", "-i", key, "-o", folder / "theirs", folder / "ours.age"),
    }
    times: dict[str, tuple[list[float], list[float]]] = {"encrypt": ([], []), "decrypt": ([], [])}
    for _ in range(rounds):
        for name, ours in (("encrypt", encrypt), ("decrypt", decrypt)):
            times[name][0].append(seconds(ours))
            if program:
                times[name][1].append(seconds(theirs[name]))
    for name, (mine, other) in times.items():
        report(name, mine, other, megabytes)
    if program:
        nothing = statistics.median(seconds(run("--version")) for _ in range(rounds))
        print(f"         of which age takes {nothing * 1000:.1f} ms to start and do nothing")
    else:
        print("         the program `age` is not installed: no comparison")


async def snapshot() -> Any:
    unit = open_unit(load_profile("r503"), "full", {"slots": "200", "fill": "200", "template_size": "512"})
    link = MemoryLink.open(unit.device)
    lock = await open_module(link, Ef01Door(target="sim", port_id="sim", profile=unit.profile, simulated=True))
    try:
        async for item in read_unit(lock):
            if isinstance(item, Reading):
                return item.snapshot
    finally:
        await lock.close()
    raise RuntimeError("nothing was read")


def backups(rounds: int) -> None:
    found = asyncio.run(snapshot())
    entries = {f"raw/{table.name}.bin": table.data for table in found.tables}
    entries |= {f"records/{name}.jsonl": data for name, data in to_sections(found).items()}
    identity = age.generate_secret_key()
    recipients, signing_key = [identity.recipient], sshsig.generate_key()
    meta = {"counts": found.counts(), "device": {"vendor": "v", "model": "m", "serial": "s"}}
    sealed: list[bytes] = []

    def make() -> None:
        sealed[:] = [seal(meta, entries, recipients=recipients, signing_key=signing_key)[0]]

    sealing = [seconds(make) for _ in range(rounds)]
    opening = [seconds(lambda: open_backup(sealed[0], identities=[identity])) for _ in range(rounds)]
    print(
        f"a backup of {found.counts()['fingerprints']} templates, {sum(map(len, entries.values()))} bytes, "
        f"file of {len(sealed[0])}: sealing {statistics.median(sealing) * 1000:.2f} ms, "
        f"opening {statistics.median(opening) * 1000:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of age files and of sealing and opening a backup.")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    print(f"{asked.megabytes} MB, file to file, medians of {asked.rounds}; ours without the interpreter's start")
    with tempfile.TemporaryDirectory() as folder:
        files(Path(folder), asked.megabytes, asked.rounds)
    backups(rounds=200)


if __name__ == "__main__":
    main()
