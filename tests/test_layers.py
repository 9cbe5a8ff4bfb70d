"""What may import what: architecture section 2, checked on the syntax trees, so that it also holds for lazy imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = "lockmigrate"
MAX_LINES: Final = 450

BELOW: Final[dict[str, frozenset[str]]] = {
    "errors": frozenset(),
    "version": frozenset(),
    "model": frozenset({"errors"}),
    "transports": frozenset({"errors"}),
    "formats": frozenset({"errors", "model"}),
    "profiles": frozenset({"errors", "model"}),
    "protocols": frozenset({"errors", "model", "transports", "formats", "profiles"}),
    "sim": frozenset({"errors", "profiles", "transports"}),
    "planning": frozenset({"errors", "model", "profiles"}),
    "vault": frozenset({"errors", "model", "formats"}),
    "targets": frozenset(
        {
            "errors",
            "model",
            "transports",
            "formats",
            "profiles",
            "protocols",
            "sim",
            "planning",
            "vault",
            "targets_ble",
            "addresses",
        }
    ),
    "addresses": frozenset({"errors"}),
    "targets_ble": frozenset({"errors", "transports", "protocols", "sim"}),
    "operations": frozenset(
        {
            "errors",
            "model",
            "transports",
            "formats",
            "profiles",
            "protocols",
            "sim",
            "planning",
            "vault",
            "targets",
            "targets_ble",
            "addresses",
        }
    ),
    "report": frozenset({"errors", "model", "profiles"}),
    "cli": frozenset({"*"}),
    "__main__": frozenset({"cli"}),
    "__init__": frozenset({"*"}),
}
"""Each part of the package and the parts that it may import besides itself; the layout's table, row by row."""

FOR_ALL: Final = frozenset({"version"})
"""Parts that stand on nothing and that every other may import."""

EVERYWHERE: Final = frozenset({"msgspec"})
ALLOWED: Final[dict[str, frozenset[str]]] = {
    "construct": frozenset({"formats"}),
    "serial": frozenset({"transports.serial", "transports.ports"}),
    "bleak": frozenset(
        {
            "transports.ble",
            "transports.ble_errors",
            "transports.ble_scan",
            "transports.bumble",
            "transports.bumble_host",
        }
    ),
    "bumble": frozenset(
        {"transports.bumble", "transports.bumble_host", "sim.radio", "sim.radio_unit", "sim.serve_ble"}
    ),
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
    "cryptography": frozenset({"formats", "vault", "sim"}),
    "nacl": frozenset({"formats.nuki", "sim.nuki_crypto"}),
    "platformdirs": frozenset({"vault", "operations", "cli"}),
    "xkcdpass": frozenset({"vault", "operations", "cli"}),
    "jinja2": frozenset({"report"}),
}
"""Each third-party library and the modules, or whole parts, that may import it; one not named here is nobody's."""

POSIX_ONLY: Final = frozenset({"termios", "fcntl", "pty", "tty", "resource", "pwd", "grp", "posix", "syslog", "crypt"})
SLOW_TO_START: Final = frozenset(
    {"asyncio", "serial", "construct", "cryptography", "rich", "msgspec", "bleak", "bumble"}
)


@dataclass(frozen=True, slots=True)
class Import:
    """One import: who, what by its full name, in which line, and whether it runs as soon as the module is imported."""

    module: str
    name: str
    line: int
    at_once: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def _sources() -> dict[str, ast.Module]:
    """Return the tree of every module, by its dotted name inside the package (`formats`, `formats.ef01`, `errors`)."""
    folder = ROOT / PACKAGE
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def _is_package(module: str) -> bool:
    return module == "__init__" or (ROOT / PACKAGE / Path(*module.split("."))).is_dir()


def imports_of(module: str, tree: ast.Module, *, package: bool = False) -> Iterator[Import]:
    """Yield every import of one module, relative ones by their full name; what is for type checkers never runs."""
    here = [] if module == "__init__" else module.split(".")

    def walk(node: ast.AST, at_once: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_once = False
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, at_once)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = len(here) - node.level + (1 if package else 0)
                base = ".".join([PACKAGE, *here[:kept], *filter(None, [base])])
            for alias in node.names:
                yield Import(module, f"{base}.{alias.name}", node.lineno, at_once)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for below in ast.iter_child_nodes(node):
            yield from walk(below, at_once and not inside)

    yield from walk(tree, at_once=True)


SOURCES: Final = _sources()
IMPORTS: Final = [
    found for module, tree in SOURCES.items() for found in imports_of(module, tree, package=_is_package(module))
]


def against_the_order(found: Import) -> bool:
    """Tell whether an import inside the package goes against the table."""
    path = found.name.split(".")
    if path[0] != PACKAGE or len(path) == 1:
        return False
    own, other = found.module.split(".")[0], path[1]
    if other not in BELOW:  # a name of the package itself, such as lockmigrate.__version__
        return False
    return other != own and not {"*", other} & (BELOW[own] | FOR_ALL)


def not_its_library(found: Import) -> bool:
    """Tell whether an import is of a library that this module has no business with."""
    library = found.name.split(".")[0]
    if library in EVERYWHERE or library in sys.stdlib_module_names or library in (PACKAGE, "__future__"):
        return False
    return not any(
        found.module == place or found.module.startswith(f"{place}.") for place in ALLOWED.get(library, frozenset())
    )


def _said(faults: list[Import]) -> list[str]:
    return [str(fault) for fault in faults]


def test_every_part_of_the_package_has_its_row_in_the_table() -> None:
    assert sorted({module.split(".")[0] for module in SOURCES} - set(BELOW)) == []


def test_imports_go_downwards_only() -> None:
    assert _said([found for found in IMPORTS if against_the_order(found)]) == []


def test_a_library_is_imported_only_where_it_belongs() -> None:
    assert _said([found for found in IMPORTS if not_its_library(found)]) == []


def test_simulators_know_nothing_of_our_own_layouts_and_conversations() -> None:
    own = [found for found in IMPORTS if found.module.split(".")[0] == "sim"]
    assert (
        _said([found for found in own if found.name.startswith(("lockmigrate.formats", "lockmigrate.protocols"))]) == []
    )


def test_nothing_that_only_posix_has_is_imported_with_a_module() -> None:
    assert _said([found for found in IMPORTS if found.at_once and found.name.split(".")[0] in POSIX_ONLY]) == []


def test_the_command_line_starts_without_the_slow_libraries() -> None:
    start = [found for found in IMPORTS if found.module in ("__init__", "__main__", "cli", "errors") and found.at_once]
    slow = [found for found in start if found.name.split(".")[0] in SLOW_TO_START]
    assert _said(slow) == []
    parts = {found.name.split(".")[1] for found in start if found.name.startswith(f"{PACKAGE}.")}
    assert sorted(parts & {"operations", "targets", "protocols", "formats", "sim", "vault", "model", "profiles"}) == []


def test_only_the_command_line_prints() -> None:
    faults = [
        f"{module}:{node.lineno}"
        for module, tree in SOURCES.items()
        if module.split(".")[0] != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert faults == []


def test_only_the_command_line_starts_an_event_loop() -> None:
    starters = ("asyncio.run", "asyncio.Runner", "asyncio.new_event_loop")
    workers = ("operations.rehearse",)  # `rehearse_file` is what a worker process runs: it has no loop yet
    faults = [
        f"{module}:{node.lineno}"
        for module, tree in SOURCES.items()
        if module.split(".")[0] not in ("cli", "sim")  # a served simulator is a program of its own
        if module not in workers
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in starters
    ]
    assert faults == []


def test_no_module_is_longer_than_one_job() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / PACKAGE).rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_defers_its_annotations() -> None:
    annotated = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign)
    lacking = [
        module
        for module, tree in SOURCES.items()
        if any(isinstance(node, annotated) for node in tree.body)
        and not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    ]
    assert lacking == []


# ---- the rules themselves can fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("model.records", "from lockmigrate.formats import ef01"),
        ("formats.ef01", "import lockmigrate.transports.serial"),
        ("formats.ef01", "from ..transports import Link"),
        ("transports.serial", "from lockmigrate import model"),
        ("sim.ef01", "def f():\n    from lockmigrate.formats.ef01 import checksum"),
        ("sim.ef01", "from lockmigrate.protocols import Lock"),
        ("vault.keys", "from lockmigrate.operations import backup"),
        ("planning.plan", "from lockmigrate.targets import open_target"),
        ("errors", "from .model import records"),
        ("operations.backup", "from lockmigrate.cli import render"),
        ("model.records", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lockmigrate.cli import run"),
    ],
)
def test_an_import_upwards_is_found(module: str, line: str) -> None:
    assert any(against_the_order(found) for found in imports_of(module, ast.parse(line)))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("formats.ef01", "from .ef01_tables import parse"),
        ("protocols.ef01", "from lockmigrate.transports import Link"),
        ("operations.backup", "from lockmigrate import __version__"),
        ("cli.render", "from lockmigrate.operations import backup"),
    ],
)
def test_an_import_in_order_is_let_through(module: str, line: str) -> None:
    assert not any(against_the_order(found) for found in imports_of(module, ast.parse(line)))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("protocols.ef01", "import construct"),
        ("transports.memory", "from serial import Serial"),
        ("operations.scan", "from serial.tools import list_ports"),
        ("operations.backup", "import rich.progress"),
        ("model.secret", "from cryptography.hazmat.primitives import hashes"),
        ("transports.serial", "import requests"),
    ],
)
def test_a_library_out_of_its_place_is_found(module: str, line: str) -> None:
    assert any(not_its_library(found) for found in imports_of(module, ast.parse(line)))


def test_an_import_inside_a_function_does_not_run_at_once() -> None:
    lazy = list(imports_of("sim.serve", ast.parse("def f():\n    import pty\nasync def g():\n    import fcntl")))
    assert [(found.name, found.at_once) for found in lazy] == [("pty", False), ("fcntl", False)]
    (eager,) = imports_of("sim.serve", ast.parse("try:\n    import pty\nexcept ImportError:\n    pass"))
    assert eager.at_once
