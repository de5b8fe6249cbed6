"""Every socket of Sonde, on one page.

An adapter implements one of these and passes its contract test in :mod:`sonde.testing`. All methods raise errors of
:mod:`sonde.errors` and no others. Methods block unless they are ``async``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from sonde.audit import Act
from sonde.changes import Changes, Series, State, Step
from sonde.clock import Micros
from sonde.command import Poll, Tasks
from sonde.entry import Body, Entry
from sonde.fresh import Fresh
from sonde.notice import Message, Notice
from sonde.profile import Profile
from sonde.question import Answer, Question
from sonde.reading import Reading


class Sensor(Protocol):
    """Gives readings when asked.

    Made once, then ``read`` at its rate, always from one thread, until ``close``. ``read`` may block: only its own
    sensor waits. An exception is a failed reading: it is counted, and the sensor is closed and made again with backoff.
    """

    def read(self) -> Sequence[Reading]:
        """The readings of this moment; may be none. :class:`EndOfReadings` when there will never be more."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Declares(Protocol):
    """A sensor may have this too: it says what its devices are. Asked after each read; the same object as before means
    that nothing has changed."""

    def profiles(self) -> Sequence[Profile]: ...


Tell = Callable[[float | None, str], None]
"""Says how far a command has come, from 0 to 1 if that is known, and in words."""


@runtime_checkable
class Performs(Protocol):
    """A sensor may have this too: it carries out the commands that its profiles declare."""

    def perform(self, device: str, command: str, parameters: Mapping[str, Any], tell: Tell) -> Any:
        """Carry out a command whose parameters fit its template. Called from a thread of its own beside ``read``, one
        command at a time for each device. What it returns goes into the result: text is its message, anything else its
        details. An exception means that the command failed."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A sensor may have this too: it says itself how many seconds lie between two reads. Asked after each read."""

    @property
    def interval(self) -> float: ...


class EndOfReadings(Exception):
    """A sensor has given all it had (a replay at its end)."""


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """What waits in an outbox and travels to a sink: one entry of a stream.

    ``kind`` is an :class:`sonde.entry.EntryKind`; ``content`` is a batch (:func:`sonde.reading.encode`) or a payload in
    JSON; ``digest`` is the first 16 bytes of its SHA-256. ``count`` is the number of readings in the stream up to and
    including this one. A tombstone covers ``seq`` to ``until``; for all others ``until == seq``.
    """

    kind: int
    seq: int
    until: int
    readings: int
    count: int
    digest: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class StreamId:
    """A lane of a node, in one epoch of its outbox. The node's name comes from its credential, not from here."""

    epoch: str
    lane: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one lane of an outbox holds."""

    lane: int
    entries: int
    readings: int
    bytes: int
    oldest: Micros | None
    rejected: int


class Outbox(Protocol):
    """Keeps what a node has measured until a sink has it.

    Bounded by bytes: when full, the oldest of the backlog and live lanes make way and a tombstone takes their place;
    the control lane is never dropped. Survives power cuts: what ``put`` returned from is there after one.
    """

    epoch: str

    def put(self, lane: int, kind: int, content: bytes, readings: int) -> int:
        """Commit one entry to a lane; its seq."""
        ...

    def peek(self, lane: int, limit_bytes: int) -> Sequence[Outgoing]:
        """The oldest entries of a lane, at least one if there are any, up to ``limit_bytes``; they stay."""
        ...

    def confirm(self, lane: int, seq: int) -> None:
        """A sink has everything up to ``seq``: delete it."""
        ...

    def reject(self, lane: int, seq: int, reason: str) -> None:
        """Entry ``seq`` will never be taken: keep it as a dead letter, and put a tombstone in its place."""
        ...

    def retry(self) -> int:
        """Put all dead letters back at the end of their lanes; how many."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """What each lane holds."""
        ...

    def close(self) -> None: ...


class Stage(IntEnum):
    """How far a command has come on its node."""

    DELIVERED = 1  # written down
    RUNNING = 2  # it may have done something
    DONE = 3  # it will not run any more


@dataclass(frozen=True, slots=True)
class Noted:
    """A command in a node's book."""

    id: str
    device: str
    command: str


class CommandBook(Protocol):
    """What a node has written down of the commands that it was given, as durable as its outbox.

    ``book_epoch`` is new whenever something may have been forgotten, such as after damage: what was given to the book under
    another epoch never runs from this one.
    """

    @property
    def book_epoch(self) -> str: ...

    def advance(self, epoch: str, noted: Noted, stage: Stage, step: bytes) -> int | None:
        """In one commit, write down that a command has come to ``stage`` and put ``step`` into the control lane; its seq.
        None, and nothing is changed, if it had come so far before. :class:`Conflict` if ``epoch`` is not this book's any
        more, unless the command is done. :class:`Retry` if the disk is full."""
        ...

    def stage(self, id: str) -> Stage | None:
        """How far a command has come; none if the book does not know it."""
        ...

    def running(self) -> Sequence[Noted]:
        """The commands that began to run and have not come to an end."""
        ...


class Downlink(Protocol):
    """A node's way to hear of commands. One thread polls; ``close`` may come from another one and ends a poll."""

    def poll(self, poll: Poll, wait: float) -> Tasks:
        """What there is to do, after at most ``wait`` seconds. :class:`Retry` when the server cannot be reached,
        :class:`Hold` when the credential is refused."""
        ...

    def close(self) -> None: ...


class Dispatch(Protocol):
    """The server's end of downlinks: holds the tasks of nodes until they ask."""

    async def poll(self, who: "Credential", poll: Poll, wait: float) -> Tasks:
        """What the node of a credential has to do, as soon as there is something, or nothing after ``wait`` seconds.
        :class:`Forbidden` if the credential belongs to no node. Cancel it when the node has gone."""
        ...


class Wire(Protocol):
    """A node's way to a sink. One lane's sends come one after another, several lanes' at the same time."""

    def send(self, stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        """Send consecutive entries; the seq up to which the sink now has the stream, durably.

        ``confirmed`` is the seq up to which the node holds receipts. :class:`Retry` when the sink cannot be reached or
        is busy, :class:`Hold` when the credential is refused, :class:`TooLarge` when fewer would do,
        :class:`Conflict` with ``known`` when the sink knows better where the stream stands, :class:`Reject` when the
        first entry will never be taken.
        """
        ...

    def close(self) -> None: ...


class Intake(Protocol):
    """A sink, as a transport sees it. Every protocol gets the same limits, checks and errors through it.

    A request goes: ``admit`` (who, how much), then ``telemetry`` or ``uplink`` (what). When they return, it is durable.
    """

    def admit(self, token: str | None, scope: str, size: int, address: str, certificate: bytes = b"") -> "Credential":
        """Check a token, and the digest of one that stands in the caller's ``certificate``; charge ``size`` bytes to its
        budget. :class:`Unauthenticated`, :class:`Forbidden`, :class:`TooLarge`, or :class:`Throttled` with ``after``."""
        ...

    async def telemetry(self, who: "Credential", request: "Telemetry") -> int:
        """Take readings in any of the public forms; how many. :class:`Invalid`, :class:`Unsupported`,
        :class:`TooLarge`, :class:`Forbidden`, :class:`Retry`."""
        ...

    async def uplink(self, who: "Credential", stream: StreamId, confirmed: int, entries: Sequence[Outgoing]) -> int:
        """Take entries of a node's stream; the seq up to which it is durable."""
        ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A request with readings: its body as it came (decompressed by the intake), and what its headers say."""

    body: bytes
    content_type: str = "application/json"
    content_encoding: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A frame in a log, or what another program wrote there. ``time`` is when the log says that it came; 0: it says nothing."""

    offset: int
    frame: bytes
    time: Micros = 0


ReadEvents = Callable[[bytes, Micros], Body]
"""What another program wrote into the log, and when it came, as a body; :class:`sonde.errors.Reject` if it means nothing."""


class Log(Protocol):
    """The truth: frames in order, partition by partition, from offset 0. One writer.

    ``id`` is drawn when the log is made and never changes. A frame that ``append`` returned from survives a power cut;
    after an error of the disk or broker nothing is promised of that call's frames, and the next call may succeed.
    """

    id: str

    def append(self, partition: int, frames: Sequence[bytes]) -> int:
        """Make ``frames`` durable; the offset of the first. :class:`Retry` if the disk is full or the broker away."""
        ...

    def read(self, partition: int, offset: int, limit_bytes: int, wait: float = 0.0) -> Sequence[Record]:
        """Durable frames from ``offset`` on: at least one if there is one, up to ``limit_bytes``; none after waiting
        ``wait`` seconds at the end. :class:`Damaged` where the log does not hold what was written;
        :class:`NotFound` below the first offset that is kept."""
        ...

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """For each partition, the first offset that is kept and the next one to be given out."""
        ...

    def cut(self, partition: int, below: int) -> None:
        """Frames below an offset are no longer needed; whole segments of them go."""
        ...

    def close(self) -> None: ...


class DeadLetter(msgspec.Struct, frozen=True):
    """A frame of a log, or what another program wrote there, that could not be read: where it stood, why, when it was
    noticed."""

    partition: int
    offset: int
    reason: str  # poison | damaged
    why: str
    noticed: Micros
    frame: bytes

    @property
    def name(self) -> str:
        """What people call it by: ``PARTITION:OFFSET``."""
        return f"{self.partition}:{self.offset}"


class DeadLetters(Protocol):
    """Keeps what a processor could not read, beside one log, until somebody has mended what was wrong.

    ``put`` comes before the processor passes over; after a crash in between it comes again, and is the same letter: partition
    and offset name it. One that was taken back never comes again under that name.
    """

    def put(self, letter: DeadLetter) -> None:
        """Keep ``letter``, durably. :class:`Retry` if that cannot be now: then nothing may be passed over."""
        ...

    def letters(self, limit: int) -> Sequence[DeadLetter]:
        """The letters that wait, those that were put first come first, each once."""
        ...

    def take_back(self, letter: DeadLetter) -> int:
        """Append its frame to its partition of the log again, then let go of the letter; the offset. After a crash in
        between it can be taken back again: what is read twice is stored once. :class:`Retry`."""
        ...

    def close(self) -> None: ...


class Membership(Protocol):
    """A place among the processors that share the partitions of a log out.

    It only says who should do the work. What protects it is the store, which takes a step from where it stands and from
    nowhere else: for a while two may think that a partition is theirs.
    """

    def partitions(self) -> frozenset[int]:
        """The partitions that are this one's now; maybe none. Called often, at least every few seconds: whoever does not is
        taken for gone, and the others get what it had. :class:`Retry` when nobody can say."""
        ...

    def close(self) -> None:
        """Leave: the others get what this one had."""
        ...


class Journal(Protocol):
    """The way into the log for what is no reading: rules, acknowledgements, commands, purges."""

    async def record(self, entries: Sequence[Entry], partition: int | None = None) -> Mapping[int, int]:
        """Make ``entries`` durable in one partition; in every one if none is named. For each of them, the offset of their
        frame: an answer whose cursor is beyond it knows of them. :class:`Retry`."""
        ...


class Identities(Protocol):
    """Remembers who was first: identity → its first place in the log.

    It is a function of the log alone, so recording the same place twice changes nothing and a rebuild can use it as it
    is. Durable when ``first`` returns, before the store commits.
    """

    def first(self, partition: int, claims: Sequence["Claim"], log_time: Micros) -> Sequence["Claim"]:
        """For each claim, the first one ever made on its key: itself, or an earlier one."""
        ...

    def find(self, partition: int, keys: Sequence[bytes]) -> Sequence["Claim | None"]:
        """For each key, the first claim on it that is remembered, or none. Changes nothing."""
        ...

    def forget(self, before: Micros, keep: int, partition: int | None = None) -> Micros:
        """Drop what is older than ``before`` and all but the newest ``keep``; the log time from which it remembers. Of one
        partition, whose time it is, if one is named; one that serves a log of one partition may do it to all."""
        ...

    def close(self) -> None: ...


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """An identity seen at a place in the log: ``offset`` of the frame and ``position`` in it, with a digest of what it
    stands for (8 bytes). ``key`` is 16 bytes."""

    key: bytes
    offset: int
    position: int
    digest: bytes = b""


class Feed(Protocol):
    """The log as it grows, each thing in it once: what live charts are drawn from.

    ``id`` is the log's. While somebody listens, what is new is told in order, partition by partition. What was told before
    can be read again, and is the same.
    """

    id: str

    def listen(self, tell: "Callable[[Sequence[Fresh]], None] | None") -> None:
        """Tell what is new from now on, from a thread of the feed's own; none: tell nobody."""
        ...

    def read(self, partition: int, offset: int, limit_bytes: int) -> Sequence[Fresh]:
        """What was told from ``offset`` on, about so many bytes of frames; at least one. :class:`NotFound` below the first
        offset that is kept, :class:`Retry` when there is nothing to be read yet."""
        ...

    def at(self, partition: int, log_time: Micros) -> int:
        """The offset of the first frame that the sink received at or after a moment."""
        ...

    def ends(self) -> Mapping[int, tuple[int, int]]:
        """For each partition, the first offset that is kept and the next one that the log will give out."""
        ...

    def series(self, number: int) -> Series:
        """The series that has a number in :class:`sonde.fresh.Fresh`."""
        ...


class Onlooker(Protocol):
    """Told of each step of a processor once the store has it; never while a store is made again. What it does not come to
    see because the program ends is in the store all the same."""

    def committed(self, step: Step) -> None:
        """Called on the processor's thread, which waits: be brief, and raise nothing."""
        ...


class Line(Protocol):
    """A client's WebSocket. Used on the server's loop only. ``has_room`` says whether the client takes what it is sent, so that
    more may be sent."""

    has_room: bool

    def send(self, frames: bytes) -> None:
        """Send whole frames (:func:`sonde.webframe.text_frame`), unless the client has gone."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, with a code of RFC 6455."""
        ...


class Guest(Protocol):
    """A client that may watch the live feed; ``subprotocol`` is the one that was chosen. Called on the server's loop."""

    subprotocol: str | None

    def opened(self, line: Line) -> None: ...

    def received(self, text: str) -> None:
        """A message came, whole."""
        ...

    def drained(self) -> None:
        """The line has room again."""
        ...

    def stopping(self) -> None:
        """The server stops: the last moment to say something."""
        ...

    def closed(self) -> None: ...


class Live(Protocol):
    """The live feed, as a transport sees it."""

    def admit(self, knock: "Knock") -> Guest:
        """Let a client in before its connection becomes a WebSocket. :class:`Unauthenticated`, :class:`Forbidden`,
        :class:`NotFound` for another path, :class:`Retry` when there are too many."""
        ...


@dataclass(frozen=True, slots=True)
class Knock:
    """A request to become a WebSocket. Names of ``headers`` are in lower case."""

    path: str
    headers: Mapping[str, str]
    subprotocols: Sequence[str]
    address: str
    server: str  # the address that it came to


class Store(Protocol):
    """Readings, windows, alerts and all else that the log says, to be asked.

    One processor a partition writes, several at the same time from threads of their own; any thread may ask at any time and
    sees a whole number of commits.
    """

    def load(self, partition: int = 0) -> State:
        """What the processor of a partition needs to go on from where this store stands. Of the progress it is all that
        there is, of every partition of every log; of all else what that partition's log has said, with the numbers of
        series that its processor gave. A store of one partition may give everything it has."""
        ...

    def commit(self, changes: Changes) -> None:
        """Make ``changes`` durable, as a whole or not at all. :class:`Conflict` if the progress is not what they expect:
        another processor has taken over. :class:`Retry` if the disk is full or the database away."""
        ...

    def ask(self, question: Question) -> Answer:
        """The answer, from one snapshot. :class:`Invalid` if it cannot be asked so, :class:`Retry` if it took too long."""
        ...

    def maintain(self) -> bool:
        """One piece of housekeeping (seal, merge, checkpoint); whether there may be more. Called from a thread of its
        own; commits go on beside it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Sealed history that goes as a whole: ``content`` is readings or windows, times are inclusive."""

    content: str
    rows: int
    bytes: int
    first: Micros
    last: Micros


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of the past: its sealed pieces, the widths of its windows in seconds, the floors in force by name
    (:mod:`sonde.removal`); by partition the offset below which no checkpoint needs the log (``safe``; none: no checkpoint
    yet); ``settled`` when nothing that is hidden still takes room."""

    pieces: Sequence[Piece] = ()
    widths: frozenset[int] = frozenset()
    floors: Mapping[str, Micros] = field(default_factory=dict)
    safe: Mapping[int, int] = field(default_factory=dict)
    settled: bool = True


class Holdings(Protocol):
    """A store, as whoever decides what to let go sees it. What is decided goes through the log, as a floor; the store then
    lets go of it by itself."""

    def held(self) -> Held:
        """What there is, now."""
        ...

    def want_checkpoint(self) -> None:
        """A new checkpoint would let more of the log go: make one soon."""
        ...


@dataclass(frozen=True, slots=True)
class Credential:
    """Who is asking: a token, and what it allows. ``devices`` are shell-style patterns; none means every device."""

    id: str
    name: str
    scopes: frozenset[str]
    devices: tuple[str, ...] = ()
    node: str = ""
    expires: Micros | None = None
    created: Micros = 0
    last_used: Micros | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A one-time sign-in link that waits (kind ``link``), or a browser that is signed in (kind ``cookie``).

    ``id`` may be shown and follows from the secret (:func:`sonde.token.session_id`); ``name`` is that of its token.
    ``address`` is where it was made from, ``last_address`` where it was used from last; ``agent`` is what the browser calls
    itself.
    """

    id: str
    kind: str
    credential_id: str
    name: str
    created: Micros
    expires: Micros
    last_used: Micros | None = None
    address: str = ""
    last_address: str = ""
    agent: str = ""


class Sessions(Protocol):
    """Who is signed in, and who may sign in once. Part of a :class:`Control`, which closes it."""

    def put(self, digest: bytes, session: Session) -> None:
        """Keep a new link or cookie, by the SHA-256 of its secret."""
        ...

    def take(self, digest: bytes, kind: str, now: Micros, address: str = "") -> Credential | None:
        """Whose link or cookie this is, if it and its token are valid; a link is used up."""
        ...

    def all(self, now: Micros) -> Sequence[Session]:
        """Those that are valid, newest first."""
        ...

    def end(self, session_id: str) -> bool:
        """End one; whether it was there."""
        ...


class Control(Protocol):
    """What is not telemetry: tokens and sign-in sessions. Never rebuilt, always backed up; several programs may use it at
    once. Secrets are kept as SHA-256 only."""

    @property
    def sessions(self) -> Sessions: ...

    def create_token(self, credential: Credential, digest: bytes) -> None:
        """Keep a new token; :class:`Conflict` if its name already has two that are valid."""
        ...

    def find_token(self, digest: bytes) -> Credential | None:
        """The credential of a token, if it is known; expired and revoked ones too."""
        ...

    def tokens(self) -> Sequence[Credential]: ...

    def revoke(self, name_or_id: str) -> int:
        """Revoke the tokens with that name or id, and end their sessions; how many tokens."""
        ...

    def close(self) -> None: ...


class AuditTrail(Protocol):
    """Who did what. It only grows; each act is chained to the one before, so that none can be changed or taken out unseen.
    Acts are numbered from 1 on; several programs may write at once."""

    def write(self, act: Act) -> None:
        """Keep ``act``, durably. :class:`Retry` if it cannot be written: then the act itself must not happen."""
        ...

    def read(self, before: int | None, limit: int) -> Sequence[tuple[int, Act]]:
        """The newest acts, newest first, with their numbers; only those below number ``before`` if it is given."""
        ...

    def head(self) -> tuple[int, bytes]:
        """The number and hash of the newest act; 0 and :data:`sonde.audit.NO_HASH` before the first. Noted elsewhere, it
        is an anchor: whoever takes the newest acts out cannot make it fit again."""
        ...

    def verify(self, anchors: Mapping[int, bytes] = ...) -> int:
        """How many acts are kept, all of them as they were written and with the hashes that ``anchors`` noted for their
        numbers; :class:`Damaged` names the first that is not."""
        ...

    def forget(self, before: Micros) -> int:
        """Drop the oldest acts, those before a moment, but never the newest one; how many. What is kept stays chained."""
        ...


class Notices(Protocol):
    """What people outside are to be told, and what became of it. It lives in the control database, so that a rebuild tells
    nobody anything again."""

    def places(self, target: str, log: str) -> Mapping[int, int]:
        """How far the events of a log have been made notices for a target: partition → the next offset; none if never."""
        ...

    def add(self, target: str, log: str, places: Mapping[int, int], notices: Sequence[Notice]) -> None:
        """Keep notices and how far they reach, durably and in one. A notice that is there already stays as it is."""
        ...

    def waiting(self, target: str, limit: int) -> Sequence[Notice]:
        """The notices of a target that wait, oldest first."""
        ...

    def update(self, notices: Sequence[Notice]) -> None:
        """Set notices that are there, durably."""
        ...

    def recent(self, target: str | None, limit: int) -> Sequence[Notice]:
        """The newest notices, newest first, of one target or of all."""
        ...


class Courier(Protocol):
    """A way to people outside: a web hook, e-mail."""

    def send(self, message: Message) -> None:
        """Give a message away. :class:`Retry` if it was certainly not taken and may be later, :class:`Doubtful` if nobody
        knows, :class:`Reject` if it never will be."""
        ...
