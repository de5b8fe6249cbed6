"""Steps of commands as records of history, in the form of the live feed."""

from typing import Any

import msgspec
import pyarrow as pa

from sonde.command import Step, StepKind, result_value
from sonde.moment import format_time
from sonde.reading import Quality


def result_records(rows: pa.Table) -> bytes:
    """The rows of :class:`sonde.question.CommandSteps` as an array of objects."""
    plain = rows.set_column(rows.schema.get_field_index("time"), "time", rows["time"].cast(pa.int64()))
    return msgspec.json.encode([_record(row) for row in plain.to_pylist()])


def _record(row: dict[str, Any]) -> dict[str, Any]:
    step = Step(
        id=row["id"],
        step=StepKind(row["step"]),
        device=row["device"],
        command=row["command"],
        message=row["message"],
        progress=row["progress"],
        details=msgspec.json.decode(row["details"]),
    )
    return {
        "type": "command_result",
        "id": step.id,
        "device": step.device,
        "site": "",
        "zone": "",
        "labels": {},
        "timestamp": format_time(row["time"]),
        "value": result_value(step),
        "quality": Quality.GOOD,
    }
