"""A Python client: send readings, ask questions, follow the live feed, have devices do things.

::

    from sonde.client import Client

    client = Client("http://localhost:8000", token="sonde_…")
    client.send([{"device": "attic", "metric": "temperature", "value": 21.5}])
    client.query("/devices/attic").data
    for reading in client.follow(metric="temperature"):
        print(reading.device, reading.value)
    client.command("demo-device", "calibrate_sensors", {"duration": 3}).message
"""

from sonde.client.client import Client
from sonde.client.events import AlertTurned, Corrected, DeviceNews, Event, Gap
from sonde.client.follow import Follow
from sonde.client.outcome import Checked, Outcome
from sonde.client.server import Answer
from sonde.reading import Reading

__all__ = [
    "AlertTurned",
    "Answer",
    "Checked",
    "Client",
    "Corrected",
    "DeviceNews",
    "Event",
    "Follow",
    "Gap",
    "Outcome",
    "Reading",
]
