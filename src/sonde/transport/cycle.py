"""How an answer leaves: uvicorn's way, with one write instead of two where the whole answer is there."""

from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Cycle(RequestResponseCycle):
    """One request and its answer. An answer that is whole leaves in one write, head and body together."""

    _head: tuple[Any, list[tuple[bytes, bytes]]] | None = None

    async def send(self, message: ASGISendEvent) -> None:
        if self.transport.is_closing():  # its client has gone, which only the newest request of a connection is told
            self.disconnected = True
        if message["type"] == "http.response.start" and not (self.response_started or self.disconnected):
            self._head = message, list(message.get("headers", ()))
            self.response_started = True
            if any(name == b"content-length" for name, _ in self._head[1]):
                return
            self._head, self.response_started = None, False
        elif self._head is not None:
            (start, headers), self._head = self._head, None
            if self._write_whole(start, headers, message):
                return
            self.response_started = False
            await super().send(start)
        await super().send(message)

    def _write_whole(self, start: Any, headers: list[tuple[bytes, bytes]], message: Any) -> bool:
        """Write an answer at once, if it is all there and nothing about it is unusual."""
        body = message.get("body", b"")
        unusual = self.disconnected or self.flow.write_paused or self.scope["method"] == "HEAD"
        if unusual or message.get("more_body", False):
            return False
        pieces = [STATUS_LINE[start["status"]]]
        for name, value in self.default_headers + headers:
            if name == b"connection" or (name == b"content-length" and value != b"%d" % len(body)):
                return False
            pieces += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            pieces.append(b"connection: close\r\n")
        head = b"".join(pieces)
        lines = len(self.default_headers) + len(headers) + 1 + (not self.keep_alive)
        if head.count(b"\n") != lines or head.count(b"\r") != lines:  # a header that would end the head
            return False
        self.waiting_for_100_continue = False
        self.transport.write(head + b"\r\n" + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True
