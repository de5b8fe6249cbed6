"""The configuration: one model for the whole file, and where its values come from.

``load`` gives :class:`Loaded`: the :class:`Settings`, the origin of each value, warnings, and what is wrong.
"""

from sonde.config.address import Topic
from sonde.config.load import DEFAULT, Fault, Loaded, load
from sonde.config.model import Settings
from sonde.config.named import Rule, Sensor
from sonde.config.outside import Email, Outside, Webhook
from sonde.config.together import is_loopback
from sonde.config.values import key_command, master_keys
from sonde.config.write import Row, as_file, as_rows, as_tables, without_place_of_log, without_secrets

__all__ = [
    "DEFAULT",
    "Email",
    "Fault",
    "Loaded",
    "Outside",
    "Row",
    "Rule",
    "Sensor",
    "Settings",
    "Topic",
    "Webhook",
    "as_file",
    "as_rows",
    "as_tables",
    "is_loopback",
    "key_command",
    "load",
    "master_keys",
    "without_place_of_log",
    "without_secrets",
]
