"""What of frames that were read before was new then."""

from sonde.entry import Entry, EntryKind
from sonde.ports import Claim, Identities
from sonde.process.ahead import Asked
from sonde.process.dedupe import Dedupe, Kept, Sifted
from sonde.process.hiding import Hiding
from sonde.process.ledger import Place, Tally


class Recall(Dedupe):
    """A :class:`Dedupe` for any place in the log that was read before: what came first then is known by its identity, so no
    stream's standing is needed. ``hiding`` knows the entries that were refused for their stream's sake.
    """

    def __init__(self, identities: Identities, partition: int, hiding: Hiding) -> None:
        super().__init__(Asked(identities), partition, ())
        self._hiding = hiding

    def _is_new_in_stream(
        self, spot: Place, entry: Entry, keep: Kept, earlier: Claim | None, tally: Tally, sifted: Sifted
    ) -> bool:
        if earlier is not None or entry.kind == EntryKind.TOMBSTONE:
            return False
        return not self._hiding.is_set_aside(spot.offset, spot.entry, entry)
