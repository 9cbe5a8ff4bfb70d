"""Transcripts: what a person types and sees. `tests/cli/*.txt`, one process per command, no terminal, no keys."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "cli"
ANY = "…"


@dataclass
class Scene:
    """One command with what it must print."""

    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def scenes() -> list[Scene]:
    found: list[Scene] = []
    for path in sorted(FOLDER.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                continue
            if line.startswith("$ "):
                found.append(Scene(line[2:]))
            elif line.startswith("! "):
                found[-1].err.append(line[2:])
            elif line.startswith("? "):
                found[-1].code = int(line[2:])
            elif found:
                found[-1].out.append(line)
    return found


def pattern(lines: list[str]) -> str:
    """One expression for all lines; `…` is any text within a line, alone on a line it is any lines."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    parts = [
        r"(?:.*\n)*?" if line == ANY else ".*".join(re.escape(part) for part in line.split(ANY)) + r"\s*\n"
        for line in lines
    ]
    return "".join(parts)


@pytest.mark.at_once
@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene.command)
def test_the_program_says_what_the_transcript_says(scene: Scene, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LOCKMIGRATE_")}
    environment |= {"LOCKMIGRATE_CONFIG_DIR": str(tmp_path / "config"), "PYTHONUTF8": "1"}
    words = shlex.split(scene.command)
    assert words.pop(0) == "lockmigrate"
    done = subprocess.run(
        [sys.executable, "-m", "lockmigrate", *words],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert re.fullmatch(pattern(scene.out), done.stdout), f"stdout:\n{done.stdout}"
    assert re.fullmatch(pattern(scene.err), done.stderr), f"stderr:\n{done.stderr}"
    assert done.returncode == scene.code
    assert list(tmp_path.glob("*.age")) == [], "something was left behind"


def test_readme_prints_the_commands_that_the_transcripts_run() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    migrate = "migrate sim://r503/full sim://r503/empty"
    assert f"    python3 -m pip install . && python3 -m lockmigrate {migrate}\n" in readme
    assert '    python3 -m pip install ".[test]" && python3 -m pytest\n' in readme
    assert f"lockmigrate {migrate}" in [scene.command for scene in scenes()]
