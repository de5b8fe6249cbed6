"""What one append brings."""

from collections.abc import Iterator, Sequence
from typing import Final

from sonde.errors import Damaged, Invalid, Problem
from sonde.frame import check_frame

BATCH_BYTES: Final = 16 << 20
"""More than this in one append is synced in several steps, so that what a crash can tear stays small."""


def check_frames(frames: Sequence[bytes]) -> None:
    """:class:`Invalid` unless each is one whole frame: nobody gets a receipt for what could not be read again."""
    for i, frame in enumerate(frames):
        try:
            size = check_frame(frame)
        except Damaged as damage:
            raise Invalid(Problem(i, "frame", damage.message)) from None
        if size != len(frame):
            raise Invalid(Problem(i, "frame", f"{len(frame)} bytes where its header announces {size}"))


def batches(frames: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The frames in groups of at most :data:`BATCH_BYTES`, or of one."""
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        if batch and size + len(frame) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(frame)
        size += len(frame)
    if batch:
        yield batch
