"""``docs/cli.md`` has every command with exactly its options, and ``docs/getting-started.md`` names none that do not exist."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sonde.cli.app import VERBS

DOCS = Path(__file__).parents[1] / "docs"


def commands() -> dict[str, Any]:
    """Every command by its full name."""
    found: dict[str, Any] = {}
    for verb in VERBS:
        command = get_command(importlib.import_module(f"sonde.cli.{verb}").app)
        inside = getattr(command, "commands", None)
        found.update({f"sonde {verb} {name}": sub for name, sub in (inside or {}).items()})
        if not inside or getattr(command, "invoke_without_command", False):
            found[f"sonde {verb}"] = command
    return found


COMMANDS = commands()


def options(command: Any) -> set[str]:
    return {option for p in command.params for option in p.opts if option.startswith("--")} - {
        "--help",
        "--install-completion",
        "--show-completion",
    }


def sections(text: str) -> dict[str, str]:
    found = re.split(r"^#{2,3} (sonde [\w ]+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_docs_with_exactly_its_options(name: str) -> None:
    section = sections((DOCS / "cli.md").read_text())[name]
    table = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(--[\w-]+)", table))
    assert documented == options(COMMANDS[name])


@pytest.mark.parametrize("page", ["cli.md", "getting-started.md", "configuration.md"])
def test_no_page_names_a_command_that_does_not_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    for verb, sub in re.findall(
        r"\bsonde ([a-z]+)(?: ([a-z]+))?", "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    ):
        assert verb in VERBS, f"sonde {verb}"
        if f"sonde {verb}" not in COMMANDS:
            assert f"sonde {verb} {sub}" in COMMANDS, f"sonde {verb} {sub}"


@pytest.mark.parametrize("page", ["cli.md", "getting-started.md", "configuration.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
