"""What systemd is told of a service that is Type=notify: a datagram to the socket that it names."""

import os
import socket
from typing import Final

SOCKET: Final = "NOTIFY_SOCKET"


def tell_manager(state: str) -> None:
    """``READY=1``, ``STOPPING=1``, ``STATUS=…`` (sd_notify(3)). Nobody is told where no manager listens."""
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        try:
            to.connect("\0" + address[1:] if address.startswith("@") else address)
            to.send(state.encode())
        except OSError:  # a manager that is gone, or does not read: the service is worth more than the news of it
            return
