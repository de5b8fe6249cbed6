"""Sealing what goes into one partition, one writer session after another."""

import structlog

from sonde.clock import Clock, Micros
from sonde.entry import Body
from sonde.errors import SondeError
from sonde.frame import NO_TAG, Codec, Sealer, read_header, tag
from sonde.keyring import Keys
from sonde.ports import Log

_events = structlog.get_logger()


class Session:
    """Frames of one partition, in the order in which one thread appends them. ``end`` is that of the partition when the
    session began."""

    def __init__(self, log: Log, partition: int, ring: Keys, codec: Codec, clock: Clock) -> None:
        self.end = 0
        self._log = log
        self._partition = partition
        self._ring = ring
        self._codec = codec
        self._clock = clock
        self._log_time: Micros = 0
        self.renew()

    @property
    def key(self) -> str:
        """The name of the master key that seals what comes from now on."""
        return self._sealer.key

    def follow(self) -> None:
        """Begin anew if another key has taken over."""
        if self._sealer.key != self._ring.active:
            self.renew()

    def renew(self) -> None:
        """Begin anew: at the start, when another key takes over, and after a failed append, since nothing is known of what
        was sealed before."""
        try:
            self._sealer = self._begun()
        except (SondeError, IndexError) as error:  # the log cannot read its last frame; the chain starts anew
            _events.warning("last_frame_unread", partition=self._partition, error=str(error))
            self._sealer = Sealer(self._ring, self._codec)

    def seal(self, body: Body) -> bytes:
        """``body`` as the next frame, to be appended now."""
        self._log_time = max(self._clock.now(), self._log_time + 1)
        return self._sealer.seal(body, self._log_time)

    def _begun(self) -> Sealer:
        """A session that names the last frame of the log; times go on from there, however the clock jumps."""
        first, end = self._log.ends().get(self._partition, (0, 0))
        self.end = max(self.end, end)
        previous = NO_TAG
        if end > first:
            frame = self._log.read(self._partition, end - 1, 1)[0].frame
            header = read_header(frame)
            self._log_time = max(self._log_time, header.log_time)
            previous = tag(header.codec, frame)
        return Sealer(self._ring, self._codec, previous)
