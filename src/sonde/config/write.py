"""The configuration in writing: the commented ``config.ini``, the rows of ``sonde config show``, the tables of the docs."""

import base64
import secrets
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sonde import __version__
from sonde.config.key import Section, example, is_secret, kind_text, older, value_text
from sonde.config.load import Loaded
from sonde.config.model import NAMED, NAMED_CLASSES, fields, section_class
from sonde.config.named import KINDS
from sonde.config.sections import SECTIONS
from sonde.config.sources import variable_of
from sonde.keyring import KEY_BYTES

_HEAD: Final = """\
# Settings of Sonde {version}. Take the ; away from a line and change it; what begins with ; is the default.
# Each setting is also an environment variable, as in SONDE_SERVER_PORT=8000, and an option: --set server.port=8000.
# Secrets may be in files of their own: SONDE_NODE_TOKEN_FILE=/run/secrets/token, or here: token_file = /run/secrets/token.
# `sonde config check` says what is wrong, `sonde config show` what is in force and where it came from.
"""

_NONE: Final[Mapping[tuple[str, str], str]] = MappingProxyType({})
_GENERATED: Final = {("log", "encryption_key"), ("node", "encryption_key")}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting in force: where it stands, its value as text (a secret masked), where that came from."""

    section: str
    key: str
    value: str
    origin: str


def new_key() -> str:
    """A master key as it stands in a configuration."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def without_secrets(text: str) -> str:
    """The text of a configuration file, its secrets left out: a comment is in the place of each."""
    lines: list[str] = []
    inside = False  # a secret that goes on in the next line
    for line in text.splitlines():
        key = line.partition("=")[0].partition(":")[0].strip().lower()
        if inside and line[:1].isspace() and line.strip():
            continue
        inside = key in _secret_names() and not line.lstrip().startswith(("#", ";"))
        lines.append(f"; {key} was a secret and is left out" if inside else line)
    return "\n".join(lines) + "\n"


def without_place_of_log(text: str) -> str:
    """The text of a configuration file, without the setting that says where the log lies."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        section = line.strip().strip("[]") if line.startswith("[") else section
        is_place = section == "log" and line.partition("=")[0].partition(":")[0].strip().lower() == "url"
        lines.append(f"; {line.strip()}" if is_place else line)
    return "\n".join(lines) + "\n"


def _secret_names() -> set[str]:
    found: set[str] = set()
    for section in [*(section for section, _ in _sections()), *(f"sensor.{kind}" for kind in KINDS), "rule.NAME"]:
        for key, info in fields(section).items():
            if is_secret(info):
                found |= {key, *(name.rpartition(".")[2].lower() for name in older(info))}
    return found


def as_file(given: Mapping[tuple[str, str], str] = _NONE) -> str:
    """A commented ``config.ini`` with every setting and fresh secrets; ``given`` are values by section and key."""
    return _HEAD.format(version=__version__) + "".join(
        _section_text(section, keys, given) for section, keys in _sections()
    )


def as_rows(loaded: Loaded) -> Iterator[Row]:
    """Every setting in force."""
    settings = loaded.settled()
    parts: dict[str, Section] = {section: getattr(settings, section) for section in SECTIONS}
    for prefix in ("sensor", *NAMED_CLASSES):
        parts |= {f"{prefix}.{name}": part for name, part in getattr(settings, f"{prefix}s").items()}
    for section, part in parts.items():
        for key, info in type(part).model_fields.items():
            yield Row(section, key, value_text(info, getattr(part, key)), loaded.origin(section, key))


def as_tables() -> str:
    """Every key in Markdown, a table for each section: for ``docs/configuration.md``."""
    documented = [(s, s, cls) for s, cls in SECTIONS.items()]
    documented += [(f"sensor.NAME, kind = {kind}", f"sensor.{kind}", cls) for kind, cls in KINDS.items()]
    documented += [(f"{prefix}.NAME", f"{prefix}.NAME", cls) for prefix, cls in NAMED_CLASSES.items()]
    return "\n".join(_table(title, section, cls) for title, section, cls in documented)


def _sections() -> list[tuple[str, dict[str, str]]]:
    named = [
        (f"{p}.{name}", {k: str(v) for k, v in keys.items()})
        for p, all_ in NAMED.items()
        for name, keys in all_.items()
    ]
    return [*((section, {}) for section in SECTIONS), *named]


def _section_text(section: str, keys: dict[str, str], given: Mapping[tuple[str, str], str]) -> str:
    cls = section_class(section)
    assert cls is not None
    lines = ["", "", *_comment(_described(cls)), f"[{section}]"]
    for key, info in fields(section).items():
        value = keys.get(key, value_text(info, info.default))
        such = f", such as {example(info)}" if example(info) else ""
        lines += ["", *_comment(f"{info.description} ({kind_text(info)}{such})".replace("\\", ""))]
        if (section, key) in given:
            lines.append(f"{key} = {given[section, key]}")
        elif (section, key) in _GENERATED:
            lines.append(f"{key} = {new_key()}")
        else:
            lines.append(f";{key} = {value}".rstrip())
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ")


def _table(title: str, section: str, cls: type[Section]) -> str:
    lines = [f"### `[{title}]`", "", _described(cls), "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for key, info in cls.model_fields.items():
        default = value_text(info, info.default)
        also = f" Older names: {', '.join(_code(_older_text(n)) for n in older(info))}." if older(info) else ""
        lines.append(f"| `{key}` | {kind_text(info)} | {_code(default)} | {info.description}{also} |")
    return "\n".join([*lines, ""])


def _older_text(name: str) -> str:
    section, dot, key = name.rpartition(".")
    return f"[{section}] {key}" if dot else name


def _described(cls: type[Section]) -> str:
    return " ".join((cls.__doc__ or "").split())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def variables() -> list[str]:
    """The environment variable of every key that is there by default; of secrets the ``…_FILE`` too."""
    found = []
    for section, _ in _sections():
        for key, info in fields(section).items():
            found.append(variable_of(section, key))
            if is_secret(info):
                found.append(variable_of(section, f"{key}_file"))
    return found
