"""The clocks of nodes, as a sink sees them: each request says what its node's clock showed when it was sent."""

from typing import Final

from sonde.clock import SECOND, Clock, SystemClock
from sonde.metrics import Metrics

_MOST: Final = 10_000  # nodes that are looked at
_WRONG_SECONDS: Final = 60.0


class NodeClocks:
    """How far each node's clock was ahead of this one when it last sent something. The way here is part of it."""

    def __init__(self, clock: Clock | None = None, metrics: Metrics | None = None) -> None:
        self._clock, self._metrics = clock or SystemClock(), metrics or Metrics()
        self._ahead: dict[str, float] = {}

    def see(self, node: str, sent: bytes) -> None:
        """``sent`` is the value of the header, in microseconds; what is no number, or absent, says nothing."""
        if sent.isdigit() and len(sent) < 18 and (node in self._ahead or len(self._ahead) < _MOST):
            self._ahead[node] = ahead = (int(sent) - self._clock.now()) / SECOND
            self._metrics.node_clock.labels(node).set(ahead)

    def warnings(self) -> list[str]:
        """Whose clock is wrong."""
        return [
            f"the clock of node {node} is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} this one"
            for node, ahead in sorted(self._ahead.copy().items())
            if abs(ahead) > _WRONG_SECONDS
        ]
