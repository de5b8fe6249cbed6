"""What the pages name is there: every link leads somewhere, every path and module exists, every module has its place."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sonde"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
FOR_PEOPLE_WHO_CHANGE_IT = ("architecture.md", "guarantees.md", "dependencies.md", "performance.md")

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\s]+)`")
OWN = re.compile(r"(?<![\w/:.-])(?:src|tests|docs|scripts|bench|examples|\.ci)/[\w./-]*")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|svg|css)|(?:[\w.-]+/)+")
MODULE = re.compile(r"sonde(?:\.[a-z_]+)+")
IN_A_DATA_DIRECTORY = {"log/", "tls/", "store/", "node/", "replay/", "import/", "copy/", "parts/", "checkpoints/"}

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in found}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        target, _, heading = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not heading or heading in headings(file), link


@each_page
def test_every_path_exists(page: Path) -> None:
    missing = {path for path in OWN.findall(page.read_text()) if not there(path.rstrip("."))}
    assert not missing


@pytest.mark.parametrize("name", FOR_PEOPLE_WHO_CHANGE_IT)
def test_every_file_in_code_quotes_exists(name: str) -> None:
    page = ROOT / "docs" / name
    named = {code for code in CODE.findall(prose(page)) if FILE.fullmatch(code)} - IN_A_DATA_DIRECTORY
    assert [path for path in sorted(named) if not there(path)] == []


@each_page
def test_every_module_exists(page: Path) -> None:
    for name in {code for code in CODE.findall(prose(page)) if MODULE.fullmatch(code)}:
        assert module_or_name(name), name


def test_every_module_at_the_top_and_every_folder_has_its_place_in_the_layout() -> None:
    layout = prose(ROOT / "docs" / "architecture.md").partition("## The layout")[2].partition("\n## ")[0]
    named = set(CODE.findall(layout))
    files = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert sorted((files | folders) - named) == []


def there(path: str) -> bool:
    return any((place / path).exists() for place in (ROOT, PACKAGE))


def module_or_name(name: str) -> bool:
    """Whether it is a module, or a name in one."""
    if importlib.util.find_spec(name) is not None:
        return True
    module, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(module), attribute)
