"""A program that takes part in a group and says, on each line, what it has. Started by tests that stop and kill it."""

import sys
import time

from sonde.errors import Retry
from sonde.log.kafka.connection import Connection
from sonde.log.kafka.membership import KafkaMembership


def main(servers: str, topic: str, group: str) -> None:
    membership = KafkaMembership(Connection(servers), topic, group, session=3.0, silence=6.0)
    while True:
        try:
            print(*sorted(membership.partitions()), flush=True)
        except Retry:
            print("unknown", flush=True)
        time.sleep(0.1)


main(*sys.argv[1:])
