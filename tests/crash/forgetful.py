"""A TCP proxy in front of a database that loses answers to COMMIT: the work is done, and whoever asked for it never hears."""

import contextlib
import random
import socket
import threading
from typing import Final

_COMMIT: Final = b"commit\0"
_PIECE: Final = 65_536


class Forgetful:
    """Forwards to ``to`` on this machine. While ``loses``, about one COMMIT in four gets no answer: when the database has
    answered, both connections are cut. ``lost`` counts."""

    def __init__(self, to: int, seed: int) -> None:
        self._to = to
        self._chance = random.Random(seed)
        self.loses = False
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in tuple(self._open):
            _cut(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._to), 10)
        except OSError:
            _cut(client)
            return
        server.settimeout(None)
        self._open |= {client, server}
        pair = _Pair(client, server)
        threading.Thread(target=self._answers, args=(pair,), daemon=True).start()
        try:
            while piece := client.recv(_PIECE):
                if self.loses and _COMMIT in piece.lower() and self._chance.random() < 0.25:
                    pair.forgets = True
                server.sendall(piece)
        except OSError:
            pass
        finally:
            self._end(pair)

    def _answers(self, pair: "_Pair") -> None:
        try:
            while piece := pair.server.recv(_PIECE):
                if pair.forgets:
                    self.lost += 1
                    return
                pair.client.sendall(piece)
        except OSError:
            pass
        finally:
            self._end(pair)

    def _end(self, pair: "_Pair") -> None:
        for one in (pair.client, pair.server):
            _cut(one)
            self._open.discard(one)


class _Pair:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server, self.forgets = client, server, False


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
