"""From what people gave to :class:`Settings`: older names, precedence, bounds, and errors that say what would be right."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sonde import __version__
from sonde.config import older
from sonde.config.key import Section, is_secret
from sonde.config.model import NAMED, NAMED_CLASSES, Settings, default_sections, fields, section_class
from sonde.config.named import KINDS
from sonde.config.sections import SECTIONS
from sonde.config.sources import (
    File,
    Given,
    from_environment,
    from_options,
    read_file,
    read_secret,
    variable_of,
)
from sonde.config.together import worth_knowing, wrong
from sonde.errors import Hold

DEFAULT: Final = "default"
_OWN_VERSION: Final = tuple(int(number) for number in __version__.split("."))


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, and where it was said."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(slots=True)
class Loaded:
    """What was found: the settings, unless something is wrong with them; where each value came from; what to know."""

    settings: Settings | None = None
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    file: Path | None = None
    files: list[Path] = field(default_factory=list)  # all that were read, secrets too
    again: "Callable[[], Loaded] | None" = field(
        default=None, repr=False, compare=False
    )  # the same, as it is said by then

    def settled(self) -> Settings:
        """The settings; :class:`Hold` with what is wrong first."""
        if self.settings is not None:
            return self.settings
        more = len(self.faults) - 1
        hint = f"There {'is 1' if more == 1 else f'are {more}'} more: sonde config check" if more else ""
        raise Hold(str(self.faults[0]), hint=hint)

    def sets(self, section: str) -> bool:
        """Whether anyone gave a value for a key of ``section``."""
        return any(named == section for named, _ in self.origins)

    def origin(self, section: str, key: str) -> str:
        return self.origins.get((section, key), DEFAULT)


def load(file: Path | None = None, environment: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> Loaded:
    """Settings from ``--set`` over the environment over the file over the defaults.

    :class:`Hold` if the file or an option cannot be read at all; what is wrong inside them is in the result's ``faults``.
    """
    loaded = Loaded(file=file, files=[file] if file else [])
    loaded.again = partial(load, file, environment, options)
    said = read_file(file) if file else File()
    layers = [
        said.given,
        from_environment(environment or {}, [s for s in said.sections if "." in s]),
        from_options(options),
    ]
    texts = _defaults()
    for section in said.sections:
        if section not in older.sections():
            texts.setdefault(section, {})
    spoken: dict[tuple[str, str], str] = {}
    for layer in layers:
        _take(layer, texts, spoken, loaded)
    _expand_old_sensor(texts, spoken, loaded)
    _take_brokers_for_a_log(texts, spoken, loaded)
    _check_names(texts, spoken, loaded)
    if loaded.faults and said.version > _OWN_VERSION:
        newer = ".".join(map(str, said.version))
        loaded.faults.append(
            Fault(str(file), f"it was written for Sonde {newer}, and this is {__version__}: use that one")
        )
    if not loaded.faults:
        _validate(texts, spoken, loaded)
    return loaded


def _defaults() -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = {section: {} for section in default_sections()}
    for prefix, sections in NAMED.items():
        for name, keys in sections.items():
            texts[f"{prefix}.{name}"].update(keys)
    return texts


def _take(
    layer: Iterable[Given], texts: dict[str, dict[str, str]], spoken: dict[tuple[str, str], str], loaded: Loaded
) -> None:
    """Put one layer over those before it; within a layer a key's own name comes before an older one."""
    own: set[tuple[str, str]] = set()
    for given in sorted(layer, key=lambda g: g.name in older.names()):
        meant = older.meaning(given.name, given.text)
        if meant is None:
            settings = _own(given, loaded)
        else:
            settings = list(meant.settings)
            if meant.warning:
                loaded.warnings.append(f"{_place(given)} {meant.warning}")
            if meant.fault:
                loaded.faults.append(Fault(_place(given), meant.fault))
        for section, key, text in settings:
            place = (section, key)
            if meant is not None and place in own:
                if texts[section][key] != text:
                    loaded.warnings.append(f"{_place(given)} is not used: {spoken[place]} says something else")
                continue
            if meant is None:
                own.add(place)
            texts.setdefault(section, {})[key] = text
            loaded.origins[place] = given.where if given.where == given.spoken else _origin(given)
            spoken[place] = _place(given)


def _own(given: Given, loaded: Loaded) -> list[tuple[str, str, str]]:
    """A key by its own name; ``…_file`` of a secret is read."""
    section, _, key = given.name.rpartition(".")
    plain = key.removesuffix("_file")
    known = fields(section)
    if key != plain and key not in known and plain in known and is_secret(known[plain]):
        loaded.files.append(Path(given.text.strip()))
        return [(section, plain, read_secret(given.text, given.spoken))]
    return [(section, key, given.text)]


def _origin(given: Given) -> str:
    return f"{given.where} ({given.spoken})" if given.name in older.names() else given.where


def _place(given: Given) -> str:
    if given.where == given.spoken or given.spoken.startswith("--set"):
        return given.spoken
    return f"{given.where}: {given.spoken}"


def _expand_old_sensor(texts: dict[str, dict[str, str]], spoken: dict[tuple[str, str], str], loaded: Loaded) -> None:
    old = texts.pop("sensor", None)
    if not old or set(old) - {"name", "rate"}:
        if old:
            texts["sensor"] = old
        return
    name = old.get("name", "").strip() or "sensor"
    section = f"sensor.{name}"
    where = next(w for (s, _), w in loaded.origins.items() if s == "sensor")
    for key, text in older.old_sensor(name, old.get("rate", "")).items():
        if key not in texts.setdefault(section, {}):
            texts[section][key] = text
            loaded.origins[section, key] = where
            spoken[section, key] = spoken.get(("sensor", "rate" if key == "rate" else "name"), where)


def _take_brokers_for_a_log(
    texts: dict[str, dict[str, str]], spoken: dict[tuple[str, str], str], loaded: Loaded
) -> None:
    """Brokers alone say that the log is a topic, unless somebody says where it is."""
    brokers, log = ("kafka", "bootstrap_servers"), ("log", "url")
    if texts["kafka"].get("bootstrap_servers", "").strip() and log not in spoken:
        texts["log"]["url"] = "kafka:"
        loaded.origins[log], spoken[log] = loaded.origins[brokers], spoken[brokers]


def _check_names(texts: Mapping[str, Mapping[str, str]], spoken: Mapping[tuple[str, str], str], loaded: Loaded) -> None:
    for section, keys in texts.items():
        kind = keys.get("kind", "").strip().lower() if section.startswith("sensor.") else ""
        place = loaded.origins.get((section, next(iter(keys), "")), "")
        where = spoken.get((section, next(iter(keys), "")), "") or str(loaded.file or place)
        if section == "":
            for key in keys:  # a variable that names nothing
                loaded.faults.append(Fault(spoken["", key], f"is no setting{_nearest_variable(key, texts)}"))
        elif section_class(section, kind) is None and not section.startswith("sensor."):
            loaded.faults.append(Fault(where, f"there is no section [{section}]{_nearest(section, _sections())}"))
        elif section.startswith("sensor.") and not _known_kind(section, kind):
            wrong = f"{kind!r} is no kind of sensor" if kind else "its kind is missing"
            loaded.faults.append(Fault(spoken.get((section, "kind"), where), f"{wrong}; there are {', '.join(KINDS)}"))
        else:
            known = fields(section, kind)
            for key in keys:
                if key not in known:
                    loaded.faults.append(
                        Fault(spoken.get((section, key), where), f"there is no such key{_nearest(key, known)}")
                    )


def _known_kind(section: str, kind: str) -> bool:
    return section_class(section, {"simulator": "building", "demo": "device"}.get(kind, kind)) is not None


def _sections() -> list[str]:
    return [
        *SECTIONS,
        "sensor.NAME",
        *(f"{p}.NAME" for p in NAMED_CLASSES),
        *(f"{p}.{n}" for p, names in NAMED.items() for n in names),
    ]


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _nearest_variable(variable: str, texts: Mapping[str, Mapping[str, str]]) -> str:
    known = [variable_of(section, key) for section in texts if section for key in fields(section)]
    close = difflib.get_close_matches(variable, known, 1, 0.75)
    return f"; did you mean {close[0]}?" if close else "; `sonde config show` lists all settings"


def _validate(texts: Mapping[str, Mapping[str, str]], spoken: Mapping[tuple[str, str], str], loaded: Loaded) -> None:
    parts: dict[str, Section] = {}
    for section, keys in texts.items():
        given = {"kind": section.removeprefix("sensor."), **keys} if section.startswith("sensor.") else dict(keys)
        kind = given.get("kind", "").strip().lower()
        cls = section_class(section, {"simulator": "building", "demo": "device"}.get(kind, kind))
        assert cls is not None
        try:
            parts[section] = cls.model_validate(given)
        except ValidationError as error:
            loaded.faults.extend(_faults(error, section, cls, keys, spoken, loaded))
    if not loaded.faults:
        settings = _assemble(parts)
        loaded.faults.extend(starmap(Fault, wrong(settings, spoken)))
        loaded.warnings.extend(worth_knowing(settings, spoken))
        if not loaded.faults:
            loaded.settings = settings


def _faults(
    error: ValidationError,
    section: str,
    cls: type[Section],
    keys: Mapping[str, str],
    spoken: Mapping[tuple[str, str], str],
    loaded: Loaded,
) -> Iterable[Fault]:
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if not problem["loc"]:
            where = next((spoken[section, key] for key in keys if (section, key) in spoken), "")
            yield Fault(_section_place(where) or str(loaded.file or ""), f"[{section}] {message}")
            continue
        key = str(problem["loc"][0])
        said = keys.get(key, "").strip()
        shown = "" if is_secret(cls.model_fields[key]) or key == "url" or "\n" in said else f" = {said}"
        yield Fault(spoken.get((section, key), f"[{section}] {key}") + shown, message)


def _section_place(where: str) -> str:
    return where.rsplit(": [", 1)[0] if ": [" in where else where


def _assemble(parts: Mapping[str, Any]) -> Settings:
    named: dict[str, dict[str, Any]] = {f"{prefix}s": {} for prefix in ("sensor", *NAMED_CLASSES)}
    for section, part in parts.items():
        prefix, _, name = section.partition(".")
        if name:
            named[f"{prefix}s"][name] = part
    return Settings(**{**{s: parts[s] for s in SECTIONS}, **named})
