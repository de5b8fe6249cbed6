"""A Python client: send readings, ask questions, follow the live feed.

::

    from sonde.client import Client

    client = Client("http://localhost:8000", token="sonde_…")
    client.send([{"device": "attic", "metric": "temperature", "value": 21.5}])
    client.query("/devices/attic").data
    for reading in client.follow(metric="temperature"):
        print(reading.device, reading.value)
"""

from sonde.client.client import Client
from sonde.client.events import AlertTurned, Corrected, DeviceNews, Event, Gap
from sonde.client.follow import Follow
from sonde.client.server import Answer
from sonde.reading import Reading

__all__ = ["AlertTurned", "Answer", "Client", "Corrected", "DeviceNews", "Event", "Follow", "Gap", "Reading"]
