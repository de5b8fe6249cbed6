"""What a name may be: 1 to 256 bytes, without control characters and without those that turn the direction of text."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sonde.reading import label_text

MAX_BYTES: Final = 256
_REMEMBERED: Final = 100_000
_SPACE, _DELETE = 0x20, 0x7F
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_good: set[str] = set()  # names and label texts seen before; a memory, bounded, never the authority


def what_is_wrong(name: str, *, may_be_empty: bool = False) -> str | None:
    """Why ``name`` cannot be one, and what would be right; ``None`` if it can."""
    if not name:
        return None if may_be_empty else "it is empty; a name has 1 to 256 bytes"
    found = _FORBIDDEN.search(name)
    if found is not None:
        return f"it holds the character U+{ord(found[0]):04X}; control and direction characters are not allowed"
    if len(name) * 4 > MAX_BYTES and len(name.encode()) > MAX_BYTES:
        return f"it has {len(name.encode())} bytes; a name has at most {MAX_BYTES}"
    return None


def known(name: Any) -> bool:
    """Whether ``name`` is text that was found good before, or empty."""
    return type(name) is str and (name in _good or not name)


def all_good(names: Iterable[str], *, may_be_empty: bool = False) -> bool:
    """Whether all of ``names`` can be names; looks closely only at those that are new."""
    for name in names:
        if name in _good:
            continue
        if what_is_wrong(name, may_be_empty=may_be_empty) is not None:
            return False
        remember(name)
    return True


def all_plain(ids: pa.Array) -> bool:
    """Whether all of many different names are of printable ASCII: the common case, without a look at each."""
    _, offset_buffer, data_buffer = ids.buffers()
    if data_buffer is None or ids.null_count:
        return False
    offsets = np.frombuffer(offset_buffer, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(offsets)
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    if not len(data) or lengths.min() < 1 or lengths.max() > MAX_BYTES:
        return False
    return bool(data.min() >= _SPACE and data.max() < _DELETE)


def labels_wrong(labels: Mapping[str, str], max_bytes: int) -> str | None:
    """Why ``labels`` cannot be labels; ``None`` if they can."""
    for key, value in labels.items():
        wrong = what_is_wrong(key) or what_is_wrong(value, may_be_empty=True)
        if wrong is not None:
            return f"{key[:64]!a}: {wrong}"
    size = len(label_text(labels))
    return None if size <= max_bytes else f"they have {size} bytes as JSON; at most {max_bytes} are allowed"


def remember(name: str) -> None:
    """``name`` was found good: it need not be looked at again. (An empty one is good in some places only.)"""
    if not name:
        return
    if len(_good) >= _REMEMBERED:
        _good.clear()
    _good.add(name)
