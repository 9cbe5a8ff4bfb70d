"""How fast stored backups are verified by restoring them into simulated units: in one process, then in two.

Makes backups of simulated units (by default 200 of an R503 with 20 templates each), then verifies all of them at each
level. Each figure counts the whole call, the start of worker processes included; the key files are unlocked once per
process. Peak memory is that of this process, or of the largest worker.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

from lockmigrate.operations.backup import BackupOptions, backup
from lockmigrate.operations.keyring import KeyChoice, KeyPaths, Keyring
from lockmigrate.operations.vault_verify import verify_many
from lockmigrate.targets import Access, open_target, parse_target
from lockmigrate.vault.keys import create_keys

PASSPHRASE = "a passphrase of a benchmark"


def make(folder: Path, count: int, templates: int) -> KeyPaths:
    """Fill a folder with backups of different units."""
    config = folder / "config"
    create_keys(config, PASSPHRASE, generated=True)
    (folder / "passphrase").write_text(PASSPHRASE, encoding="utf-8")
    (folder / "passphrase").chmod(0o600)

    async def main() -> None:
        ring = Keyring(KeyChoice(config_dir=config, passphrase=PASSPHRASE, key_copy=False))
        for number in range(count):
            lock = await open_target(parse_target(f"sim://r503/half?fill={templates}&seed={number}"), Access())
            async for _ in backup(lock, ring, BackupOptions(folder=folder)):
                pass
            await lock.close()

    asyncio.run(main())
    return KeyPaths(config_dir=config, passphrase_file=folder / "passphrase")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--templates", type=int, default=20)
    parser.add_argument("--levels", default="read-data,rehearse")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = make(folder, given.count, given.templates)
        files = sorted(folder.glob("backup-*.age"))
        print(f"{len(files)} backups of {given.templates} templates, {files[0].stat().st_size} bytes each")
        for level in given.levels.split(","):
            alone = 0.0
            for workers in (1, 2):
                pool: Executor | None = None
                if workers > 1:
                    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
                with pool or nullcontext():
                    started = time.perf_counter()
                    checks = list(verify_many(files, level, pool, keys))
                    took = time.perf_counter() - started
                bad = [check for check in checks if not check.ok]
                rate = len(files) / took
                alone = alone or rate
                who = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
                peak_mib = resource.getrusage(who).ru_maxrss / 1024
                print(
                    f"{level:10} {workers} process(es)  {rate:8.1f} a second  {rate / alone:5.2f} ×  "
                    f"peak {peak_mib:5.1f} MiB  {len(bad)} bad"
                )


if __name__ == "__main__":
    main()
