"""Compile the report's translations: `.po` to `.mo`, and name the messages that lack one. Run it after changing a text.

python docs/make_locale.py

New messages are added to the `.po` with an empty translation, messages that nobody uses any more are dropped.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "lockmigrate"
REPORT = PACKAGE / "report"
PO = REPORT / "locale" / "zh_CN" / "LC_MESSAGES" / "lockmigrate.po"
HEADER = "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nLanguage: zh_CN\n"
_IN_TEMPLATE = re.compile(r"\bt\(\s*\"((?:[^\"\\]|\\.)*)\"")


def messages() -> list[str]:
    """Return every text that is translated, in order of first use."""
    from lockmigrate.model.reasons import REASONS

    found = [text for path in sorted((REPORT / "templates").glob("*.html")) for text in _in_template(path)]
    found += [text for path in sorted(REPORT.glob("*.py")) for text in _in_python(path)]
    return list(dict.fromkeys([*found, *REASONS.values()]))


def _in_template(path: Path) -> list[str]:
    return [json.loads(f'"{text}"') for text in _IN_TEMPLATE.findall(path.read_text(encoding="utf-8"))]


def _in_python(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("N_", "t") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def read_po(path: Path) -> dict[str, str]:
    """Return message to translation; the header, whose message is empty, is left out."""
    found: dict[str, str] = {}
    parts = {"msgid": "", "msgstr": ""}
    field = ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        keyword, _, rest = line.partition(" ")
        if keyword in parts:
            if keyword == "msgid":
                if parts["msgid"]:
                    found[parts["msgid"]] = parts["msgstr"]
                parts = {"msgid": "", "msgstr": ""}
            field, line = keyword, rest
        if line.startswith('"'):
            parts[field] += json.loads(line)
    return found


def write_po(texts: dict[str, str]) -> str:
    """Return the `.po` of these texts."""
    lines = ["# Simplified Chinese texts of lockmigrate's reports; docs/make_locale.py compiles them."]
    lines += ['msgid ""', 'msgstr ""', *(_quoted(line) for line in HEADER.splitlines(keepends=True)), ""]
    for message, text in texts.items():
        lines += [f"msgid {_quoted(message)}", f"msgstr {_quoted(text)}", ""]
    return "\n".join(lines)


def compile_mo(texts: dict[str, str]) -> bytes:
    """Return the `.mo`: GNU gettext's binary form, "The Format of GNU MO Files" in its manual."""
    pairs = sorted(
        (message.encode(), text.encode()) for message, text in {"": HEADER, **texts}.items() if text or not message
    )
    start = 28 + 16 * len(pairs)
    tables: list[list[int]] = [[], []]
    data = b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += [len(pair[column]), start + len(data)]
            data += pair[column] + b"\0"
    numbers = [0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, start, *tables[0], *tables[1]]
    return struct.pack(f"<{len(numbers)}I", *numbers) + data


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    known = read_po(PO) if PO.exists() else {}
    texts = {message: known.get(message, "") for message in messages()}
    PO.write_text(write_po(texts), encoding="utf-8")
    PO.with_suffix(".mo").write_bytes(compile_mo(texts))
    lacking = [message for message, text in texts.items() if not text]
    for message in lacking:
        sys.stderr.write(f"no translation: {message}\n")
    sys.exit(1 if lacking else 0)
