"""Fuzz one target for some time with atheris (libFuzzer): python tests/fuzz/run.py TARGET --seconds 60

Needs the package atheris, which is no dependency of ours and of no extra. Ends with 0 if nothing was found; else it
prints the input that did it, in base64. libFuzzer's own lines tell the executions. The same targets run for a few
hundred examples each in tests/test_fuzz.py.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    *("header", "armor", "bech32", "archive", "signature", "manifest", "open", "signed"),
    *("zk-packets", "zk-tables", "zk-files", "slot-frames", "slot-tables"),
)


def inside(name: str, folder: Path, seconds: int) -> None:
    """Fuzz in this process, which libFuzzer ends itself."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    with atheris.instrument_imports(include=["lockmigrate"]):
        from targets import TARGETS
    target, seeds = TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=5", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/found-", str(corpus)], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz one target with atheris.")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.target, asked.inside, asked.seconds)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, asked.target, "--seconds", str(asked.seconds), "--inside", folder]
        status = subprocess.run(command, check=False).returncode
        for found in sorted(Path(folder).glob("found-*")):
            sys.stdout.write(f"{found.name}: {base64.b64encode(found.read_bytes()).decode()}\n")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
