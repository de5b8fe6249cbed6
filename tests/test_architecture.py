"""Who may import whom. A change that needs an exception here needs a better place instead."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "sonde"
STATIONS = {"node", "sink", "process", "api", "notify"}
ADAPTERS = {"transport", "log", "store", "control", "courier", "node.sensors", "node.outbox"}
TOP = {"assemble", "cli", "__main__", "testing"}
FILES = sorted(ROOT.rglob("*.py"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(name: str) -> str:
    """The part of Sonde that a module belongs to: an adapter, a station, or itself."""
    for adapter in ADAPTERS:
        if name == adapter or name.startswith(adapter + "."):
            return adapter
    return name.split(".", maxsplit=1)[0]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sonde"):
            inside = node.module.removeprefix("sonde").removeprefix(".")
            names = [f"{inside}.{a.name}".removeprefix(".") for a in node.names]
            found.update(n if (ROOT / (n.replace(".", "/") + ".py")).exists() else inside or n for n in names)
        elif isinstance(node, ast.Import):
            found.update(a.name.removeprefix("sonde.") for a in node.names if a.name.startswith("sonde."))
    return found - {""}


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or importer in {"assemble", "testing"}:
        return True
    if imported == "__version__":
        return True
    if importer in {"cli", "__main__"}:
        return imported not in ADAPTERS | STATIONS
    if imported == "client":
        return False  # it is for those outside, and for commands
    if imported in {"config", "assemble", "cli", "testing"}:
        return False
    return imported not in STATIONS | ADAPTERS


@pytest.mark.parametrize("path", FILES, ids=[module(p) or "sonde" for p in FILES])
def test_imports_keep_to_the_layers(path: Path) -> None:
    importer = part(module(path))
    wrong = [name for name in sorted(imports(path)) if not allowed(importer, part(name))]
    assert not wrong, f"{module(path)} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", FILES, ids=[module(p) or "sonde" for p in FILES])
def test_no_import_hides_in_a_function_or_behind_type_checking(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert "TYPE_CHECKING" not in path.read_text()
    if module(path) == "assemble" or part(module(path)) == "cli":
        return  # adapters and commands are loaded when they are asked for
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            hidden = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not hidden, f"{module(path)}.{function.name} imports inside"
