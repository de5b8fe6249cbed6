"""Where settings come from: a file, the environment, the command line. Each gives :class:`Given` values."""

import configparser
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sonde.config.key import is_secret
from sonde.config.model import NAMED, default_sections, fields
from sonde.config.older import names
from sonde.errors import Hold

OTHER_VARIABLES: Final = frozenset(
    {"SONDE_DATA", "SONDE_CONFIG", "SONDE_TOKEN", "SONDE_TOKEN_FILE", "SONDE_URL", "SONDE_CA"}
)
"""Variables that the commands read and that are no settings."""

# Kubernetes puts these into every container beside a service called sonde.
_OF_KUBERNETES: Final = re.compile(r"SONDE_(SERVICE_(HOST|PORT\w*)|PORT|PORT_\d+_\w+)")
_WRITTEN_BY: Final = re.compile(r"# Settings of Sonde (\d{1,6}(?:\.\d{1,6}){0,3})\.")
_NO_DEFAULT_SECTION: Final = "\0"


@dataclass(frozen=True, slots=True)
class Given:
    """One value that someone gave: under which name, as which text, and where."""

    name: str  # section.key as given, or an older variable
    text: str
    where: str
    spoken: str  # the name as the user knows it: [server] port, SONDE_SERVER_PORT, --set server.port


@dataclass(frozen=True, slots=True)
class File:
    """A configuration file as it stands: the names of its sections, empty ones too, and what it says."""

    sections: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    version: tuple[int, ...] = ()  # of the Sonde that wrote it, if it says so


def read_file(path: Path) -> File:
    """What a file says. :class:`Hold` if it cannot be read as one."""
    parser = configparser.ConfigParser(
        interpolation=None,
        default_section=_NO_DEFAULT_SECTION,
        empty_lines_in_values=False,
        comment_prefixes=("#", ";"),
    )
    try:
        text = path.read_text("utf-8-sig")
        parser.read_string(text, str(path))
    except FileNotFoundError:
        raise Hold(f"there is no file {path}", hint="Write one with: sonde init") from None
    except configparser.Error as error:
        raise Hold(_syntax_text(path, error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Hold(f"{path} cannot be read ({error})", hint="It has to be a text file in UTF-8") from None
    lines = {(section, key): number for section, key, number in _scan(text)}
    given = (
        Given(f"{section}.{key}", value, f"{path}:{lines.get((section, key), 1)}", f"[{section}] {key}")
        for section in parser.sections()
        for key, value in parser.items(section)
    )
    said = _WRITTEN_BY.match(text)
    version = tuple(int(number) for number in said[1].split(".")) if said else ()
    return File(tuple(parser.sections()), tuple(given), version)


def from_environment(environment: Mapping[str, str], known: Sequence[str]) -> list[Given]:
    """What variables say: ``SONDE_SECTION_KEY`` and the older ones. ``known`` are names of sensors and rules."""
    variables = _variables(known)
    found = []
    for variable, text in sorted(environment.items()):
        if not text.strip():
            continue
        plain = variable.removesuffix("_FILE")
        if variable in names() or (plain != variable and plain in names() and _may_be_file(plain)):
            name = plain if plain in names() else variable
            found.append(Given(name, _content(variable, text, plain), variable, variable))
        elif variable.startswith("SONDE_") and not _is_no_setting(variable):
            name = _name_of(variable, variables) or variable
            found.append(Given(name, text, variable, variable))
    return found


def from_options(options: Sequence[str]) -> list[Given]:
    """What ``--set section.key=value`` says. :class:`Hold` if one has another form."""
    found = []
    for option in options:
        name, equals, text = option.partition("=")
        section, _, key = name.strip().rpartition(".")
        if not equals or not section or not key:
            raise Hold(f"--set {option} has another form", hint="Write --set section.key=value, as in server.port=8080")
        found.append(Given(f"{section}.{key.lower()}", text, "--set", f"--set {section}.{key.lower()}"))
    return found


def variable_of(section: str, key: str) -> str:
    """The environment variable of a key."""
    return f"SONDE_{section}_{key}".upper().replace(".", "_").replace("-", "_")


def read_secret(path: str, spoken: str) -> str:
    """What a ``…_FILE`` names. :class:`Hold` if it cannot be read."""
    try:
        return Path(path.strip()).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Hold(f"{spoken} names {path.strip()}, which cannot be read ({error})") from None


def _content(variable: str, text: str, plain: str) -> str:
    return text if variable in names() else read_secret(text, variable)


def _may_be_file(name: str) -> bool:
    return any(mark in name for mark in ("PASSWORD", "KEY", "DATABASE_URL", "SSL"))


def _is_no_setting(variable: str) -> bool:
    return (
        variable in OTHER_VARIABLES
        or variable.startswith("SONDE_TEST_")
        or _OF_KUBERNETES.fullmatch(variable) is not None
    )


def _variables(known: Sequence[str]) -> dict[str, str]:
    """Every variable that is sure: of sections that are there, and of older ones."""
    found = {}
    for section in dict.fromkeys([*default_sections(), *known]):
        for key, info in fields(section).items():
            found[variable_of(section, key)] = f"{section}.{key}"
            if is_secret(info):
                found[variable_of(section, f"{key}_file")] = f"{section}.{key}_file"
    return {**{variable_of(*n.split(".")): n for n in names() if "." in n}, **found}


def _name_of(variable: str, variables: Mapping[str, str]) -> str | None:
    """The setting that a variable names; of a sensor or rule that nobody named yet, the longest key that fits."""
    if variable in variables:
        return variables[variable]
    for prefix in NAMED:
        head = f"SONDE_{prefix.upper()}_"
        if not variable.startswith(head):
            continue
        for key in sorted(_keys(f"{prefix}.any"), key=len, reverse=True):
            name = variable.removeprefix(head).removesuffix(f"_{key.upper()}")
            if variable.endswith(f"_{key.upper()}") and name:
                return f"{prefix}.{name.lower()}.{key}"
    return None


def _keys(section: str) -> Iterator[str]:
    for key, info in fields(section).items():
        yield key
        if is_secret(info):
            yield f"{key}_file"


def _scan(text: str) -> Iterator[tuple[str, str, int]]:
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\[([^\]]+)\]", line):
            section = match[1]
        elif match := re.match(r"([^#;=:\s][^=:]*?)\s*[=:]", line):
            yield section, match[1].lower(), number


def _syntax_text(path: Path, error: configparser.Error) -> str:
    match error:
        case configparser.DuplicateOptionError():
            return f"{path}:{error.lineno}: [{error.section}] {error.option} is there twice; keep one of them"
        case configparser.DuplicateSectionError():
            return f"{path}:{error.lineno}: [{error.section}] is there twice; put its keys together"
        case configparser.MissingSectionHeaderError():
            return f"{path}:{error.lineno}: a line before the first [section]"
        case configparser.ParsingError() if error.errors:
            return f"{path}:{error.errors[0][0]}: not a line of the form key = value"
    return f"{path}: {error.message}"
