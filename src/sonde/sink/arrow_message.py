"""How large an Arrow stream becomes, read from its messages before anything is unpacked.

The buffers of a message may be compressed, and a column of nulls has no buffers at all, so the size of the body says
little. What is read here is the FlatBuffers metadata of each message (Arrow columnar format, ``Message.fbs``).
"""

import struct
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")
_HEADER = 2  # the field of Message that holds the RecordBatch or DictionaryBatch
_DATA = 1  # the field of DictionaryBatch that holds its RecordBatch
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # fields of RecordBatch


def size_of(body: bytes) -> tuple[int, int]:
    """The rows in a stream, and its bytes when unpacked. Raises what pyarrow raises, or ``struct.error``."""
    rows = size = 0
    for message in pa.ipc.MessageReader.open_stream(body):
        if message.type == "schema":
            continue
        metadata = memoryview(message.metadata)
        batch = _table(metadata, _field(metadata, _I32.unpack_from(metadata)[0], _HEADER))
        if message.type == "dictionary":
            batch = _table(metadata, _field(metadata, batch, _DATA))
        length = _field(metadata, batch, _LENGTH)
        in_batch = _I64.unpack_from(metadata, length)[0] if length else 0
        rows += in_batch if message.type == "record batch" else 0
        content = memoryview(message.body)
        compressed = _field(metadata, batch, _COMPRESSION) != 0
        size += sum(_unpacked(content, metadata, batch)) if compressed else len(content)
        size += in_batch // 8
    return rows, size


def _unpacked(content: memoryview, metadata: memoryview, batch: int) -> Iterator[int]:
    """The bytes of each buffer; the length when unpacked stands before each one that is compressed."""
    vector = _field(metadata, batch, _BUFFERS)
    if not vector:
        return
    start = _table(metadata, vector)
    for i in range(_I32.unpack_from(metadata, start)[0]):
        offset, length = struct.unpack_from("<qq", metadata, start + 4 + 16 * i)
        if length < _I64.size:
            yield 0
            continue
        announced = _I64.unpack_from(content, offset)[0]
        yield length if announced == -1 else max(announced, 0)


def _table(data: memoryview, place: int) -> int:
    """Where the table or vector that ``place`` points to starts."""
    return int(place + _I32.unpack_from(data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it is absent."""
    vtable = table - _I32.unpack_from(data, table)[0]
    at = 4 + 2 * number
    if vtable < 0 or at >= _U16.unpack_from(data, vtable)[0]:
        return 0
    offset = _U16.unpack_from(data, vtable + at)[0]
    return table + int(offset) if offset else 0
