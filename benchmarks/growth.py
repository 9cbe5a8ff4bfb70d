"""How time and memory of a backup grow with the number of templates (1,536 bytes each, unpaced simulated module).

Each size runs in a process of its own, so that its peak memory is its own. Keys are unlocked.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (10, 30, 100, 300, 1000)


def peak_mib() -> float:
    """Peak memory of this program. Linux's own counter: `getrusage` there still holds that of whoever started us."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    divisor = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / divisor


def one(templates: int) -> None:
    from lockmigrate.operations.backup import BackupOptions, backup
    from lockmigrate.operations.keyring import Keyring
    from lockmigrate.targets import Access, open_target, parse_target

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            ring = Keyring.for_one_run(Path(folder))
            target = parse_target(f"sim://r503/huge?fill={templates}")
            lock = await open_target(target, Access())
            started = time.perf_counter()
            async for item in backup(lock, ring, BackupOptions(folder=Path(folder))):
                last = item
            took = time.perf_counter() - started
            await lock.close()
        count = getattr(last, "counts", {}).get("fingerprints")
        each_ms = 1000 * took / count
        print(f"{count:5} templates   {took:7.3f} s   {each_ms:6.3f} ms each   peak {peak_mib():6.1f} MiB")

    asyncio.run(main())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(int(sys.argv[1]))
    else:
        for size in SIZES:
            subprocess.run([sys.executable, __file__, str(size)], check=True)
