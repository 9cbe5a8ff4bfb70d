"""Run a program that wants its passphrase typed at a terminal, and type it (POSIX only)."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def type_passphrase(command: Sequence[str | Path], passphrase: str, prompts: int) -> None:
    """Run a program that asks for a passphrase on its controlling terminal, `prompts` times; it must end well."""
    import pty

    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen, deadline = b"", time.monotonic() + 30
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    seen += os.read(master, 1024)
                except OSError:
                    break
            if prompts and b"passphrase" in seen and seen.rstrip().endswith(b":"):
                os.write(master, passphrase.encode() + b"\n")
                seen, prompts = b"", prompts - 1
        assert process.wait(timeout=30) == 0, seen
    finally:
        process.kill()
        process.wait()
        os.close(master)
