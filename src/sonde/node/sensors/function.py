"""A user's own Python callable as a sensor."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sonde.clock import Clock, Micros, SystemClock
from sonde.errors import Hold
from sonde.ports import Tell
from sonde.profile import TELL, Command, Profile, declared_command
from sonde.reading import Reading
from sonde.template import faults

_FIELDS: Final = tuple(f.name for f in msgspec.structs.fields(Reading))
_FORMS: Final = (
    'a reading is a sonde.reading.Reading, a pair ("metric", value), or a dict such as {"metric": …, "value": …}'
)


class FunctionSensor:
    """Calls ``module:function`` at each read. What it returns may be one or many of: :class:`Reading`, a dict with its
    fields, a pair of metric and value, or a dict of metrics and values. Missing fields are filled in: the time is now, the
    device is ``device``.

    Functions of the same module that :func:`sonde.profile.command` declares are its commands. Modules are looked for in
    ``directory`` too. :class:`Hold` if there is no such function, or if a command could never be given.
    """

    def __init__(
        self,
        target: str,
        *,
        device: str = "",
        site: str = "",
        zone: str = "",
        directory: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._target = target
        self._call = _load(target, directory or Path.cwd())
        self._device = device or target.replace(":", ".")
        self._site, self._zone = site, zone
        self._clock = clock or SystemClock()
        self._commands = _commands_beside(self._call)
        self._profiles = _profiles(self._device, self._site, self._zone, self._commands, target)

    def read(self) -> Sequence[Reading]:
        given = self._call()
        now = self._clock.now()
        return [self._reading(item, now) for item in self._items(given)]

    def profiles(self) -> Sequence[Profile]:
        return self._profiles

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        function = self._commands[command]
        more = {TELL: tell} if TELL in inspect.signature(function).parameters else {}
        return function(**parameters, **more)

    def close(self) -> None:
        close = getattr(self._call, "close", None)
        if callable(close):
            close()

    def _items(self, given: object) -> Iterable[object]:
        """Each reading in what the function returned."""
        if given is None:
            return []
        if isinstance(given, Mapping):
            return [given] if "metric" in given else list(given.items())
        if isinstance(given, Reading) or _is_pair(given):
            return [given]
        if isinstance(given, Iterable) and not isinstance(given, str | bytes):
            return given
        raise TypeError(f"{self._target} returned {given!r}; {_FORMS}")

    def _reading(self, item: object, now: Micros) -> Reading:
        if isinstance(item, Reading):
            return item
        if isinstance(item, Mapping):
            return self._from_fields(dict(item), now)
        if isinstance(item, tuple) and _is_pair(item):
            return self._from_fields({"metric": item[0], "value": item[1]}, now)
        raise TypeError(f"{self._target} returned {item!r}; {_FORMS}")

    def _from_fields(self, fields: dict[str, Any], now: Micros) -> Reading:
        unknown = [name for name in fields if name not in _FIELDS]
        if unknown:
            raise TypeError(
                f"{self._target} returned a reading with {unknown[0]!r}; a reading has only {', '.join(_FIELDS)}"
            )
        missing = [name for name in ("metric", "value") if name not in fields]
        if missing:
            raise TypeError(f"{self._target} returned a reading without {missing[0]!r}: {fields!r}")
        filled: dict[str, Any] = {"device": self._device, "site": self._site, "zone": self._zone, "time": now}
        return Reading(**(filled | fields))


def _commands_beside(call: Callable[[], object]) -> dict[str, Callable[..., Any]]:
    """The functions of a module, or else of an object whose method is called, that are declared to be commands."""
    owner = getattr(call, "__self__", None) or sys.modules.get(getattr(call, "__module__", "") or "")
    found = {name: getattr(owner, name) for name in dir(owner) if declared_command(getattr(owner, name, None))}
    return {function.__name__: function for function in found.values()}


def _profiles(
    device: str, site: str, zone: str, commands: Mapping[str, Callable[..., Any]], target: str
) -> Sequence[Profile]:
    templates = {name: declared_command(function) or Command() for name, function in commands.items()}
    if not templates:
        return ()
    profile = Profile(device, commands=templates, site=site, zone=zone)
    for fault in faults(profile):
        raise Hold(f"{target}: {fault}", hint="No value could ever be right")
    return [profile]


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _load(target: str, directory: Path) -> Callable[[], object]:
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise Hold(f"{target!r} does not name a function", hint="Write module:function, such as my_sensors:boiler")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise Hold(f"{module_name} needs the module {error.name!r}, which is not installed") from error
        raise Hold(
            f"there is no module {module_name!r}", hint=f"Put {module_name}.py into {directory}, or install it"
        ) from None
    try:
        function: object = module
        for part in name.split("."):
            function = getattr(function, part)
    except AttributeError:
        there = ", ".join(sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))[:10])
        raise Hold(f"{module_name} has no {name!r}", hint=f"It has: {there or 'no functions'}") from None
    if not callable(function):
        raise Hold(f"{target} is a {type(function).__name__}, not a function")
    return function
