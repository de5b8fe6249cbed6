"""The OpenAPI document: what FastAPI finds in the routes, and what it cannot know.

Readings are taken in by a handler of their own in front of this application; they are described here all the same.
"""

from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from sonde import __version__
from sonde.api.answers import Accepted, ProblemItem, SqlQuestion
from sonde.api.export import ARROW
from sonde.api.responses import failing

TAGS: Final = [
    {"name": "readings", "description": "Send readings"},
    {"name": "health", "description": "Is it alive, is it ready, how is it set up"},
    {"name": "charts", "description": "Windows as charts want them"},
    {"name": "alerts", "description": "Rules that hold, or held"},
    {"name": "series", "description": "Find series, draw them, take them along"},
    {"name": "devices", "description": "Devices and their newest values"},
    {"name": "history", "description": "Raw readings"},
    {"name": "profiles", "description": "What devices say about themselves"},
    {"name": "commands", "description": "What devices are asked to do, and what became of it"},
    {"name": "downlink", "description": "For nodes: how they hear of commands"},
    {"name": "ledger", "description": "What became of every reading"},
    {"name": "sql", "description": "Anything that one SELECT can ask"},
    {"name": "sign-in", "description": "For browsers"},
    {"name": "people", "description": "Who may come in, who is in, and who did what"},
    {"name": "nodes", "description": "Nodes join, and renew their certificates"},
    {"name": "purges", "description": "Forgetting on purpose"},
    {"name": "pages", "description": "For people"},
]
DESCRIPTION: Final = (
    "Telemetry that survives the trip: from sensor to chart. Times out are RFC 3339 in UTC with microseconds; times in "
    "are RFC 3339 with an offset, or Unix time in s, ms, µs or ns by its size. Every answer from the store carries "
    '`Sonde-Cursor`, the place in the log that it stands for. Lists go on at `Link: <…>; rel="next"`. Errors are '
    "problem JSON (RFC 9457); only 429, 502, 503 and 504 may be retried, after `Retry-After`."
)

_NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\x00-\x1f\x7f]+$"}
_PLACE: Final[dict[str, Any]] = {
    **_NAME,
    "type": ["string", "null"],  # null is as absent, here and in all that may be absent
    "minLength": 0,
    "pattern": r"^[^\x00-\x1f\x7f]*$",
}
_WHEN: Final[dict[str, Any]] = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}, {"type": "null"}],
    "description": "RFC 3339 with an offset, or Unix time in s, ms, µs or ns by its size; absent: the moment of receipt",
}
_VALUE: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[^\x00]*$"},
        {"type": "boolean"},
        {"type": "array"},
        {"type": "object"},
    ],
    "description": "Integers are exact from −2^63 to 2^63−1, and refused beyond; NaN and infinities are refused",
}
_LABELS: Final[dict[str, Any]] = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_EVENT_ID: Final[dict[str, Any]] = {
    **_NAME,
    "type": ["string", "null"],
    "description": "Unique per device: the same one sent twice is stored once",
}


def _shape(required: list[str], example: Any, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "examples": [example],
    }


def _one_or_many(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one}]}


_READINGS: Final[dict[str, Any]] = {
    "ShortReading": _shape(
        ["name", "value"],
        {"name": "sensor_A", "value": 21, "timestamp": 1752400800123},
        name={**_NAME, "description": "The device; its metric is `value`"},
        value=_VALUE,
        timestamp=_WHEN,
    ),
    "BuildingReading": _shape(
        ["device_id", "sensor_type", "value"],
        {
            "device_id": "Site-01/Zone-03/co2-1",
            "sensor_type": "co2",
            "value": 812.5,
            "ts_event": "2026-01-01T00:00:00Z",
        },
        event_id=_EVENT_ID,
        device_id=_NAME,
        site_id=_PLACE,
        zone_id=_PLACE,
        sensor_type=_NAME,
        value=_VALUE,
        ts_event=_WHEN,
    ),
    "OwnReading": _shape(
        ["device", "metric", "value"],
        {"device": "press-7", "metric": "temperature", "value": 21.5, "time": "2026-01-01T00:00:00Z"},
        device=_NAME,
        metric=_NAME,
        value={"anyOf": [*_VALUE["anyOf"], {"type": "null"}], "description": "null, with a quality: the sensor failed"},
        time=_WHEN,
        site=_PLACE,
        zone=_PLACE,
        labels=_LABELS,
        quality={"type": ["integer", "null"], "minimum": 0, "maximum": 4},
        event_id=_EVENT_ID,
    ),
    "Columns": _shape(
        ["device", "metric", "value"],
        {"device": "press-7", "metric": ["temperature", "pressure"], "value": [21.5, 1013], "time": 1767225600},
        device=_one_or_many(_NAME),
        metric=_one_or_many(_NAME),
        value={"type": "array", "items": _VALUE},
        time=_one_or_many(_WHEN),
        site=_one_or_many(_PLACE),
        zone=_one_or_many(_PLACE),
    ),
}
_ANY_READING: Final = {"anyOf": [{"$ref": f"#/components/schemas/{n}"} for n in _READINGS if n != "Columns"]}


def _telemetry(operation_id: str, also: str) -> dict[str, Any]:
    """The operation of ``POST /telemetry`` and of its other name."""
    return {
        "tags": ["readings"],
        "operationId": operation_id,
        "summary": "Send readings",
        "description": (
            "One reading, an array of up to 100,000, or columns. The answer comes when all of it is on disk; a request "
            f"that is refused is refused whole. Identity is `event_id`, else the header `Idempotency-Key`. {also}"
        ),
        "parameters": [
            {"name": "Idempotency-Key", "in": "header", "schema": _NAME, "description": "Names this request"},
            {"name": "Content-Encoding", "in": "header", "schema": {"type": "string", "enum": ["", "gzip", "zstd"]}},
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            _ANY_READING,
                            {"type": "array", "items": _ANY_READING, "minItems": 1, "maxItems": 100_000},
                            {"$ref": "#/components/schemas/Columns"},
                        ]
                    },
                    "example": _READINGS["OwnReading"]["examples"][0],
                },
                "application/x-ndjson": {"schema": {"type": "string", "description": "One reading a line"}},
                ARROW: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "202": {
                "description": "All of it is durable",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}},
            },
            **{str(status): shape for status, shape in failing(400, 401, 403, 413, 415, 422, 429, 503).items()},
        },
        "security": [{"token": ["ingest"]}],
    }


class Application(FastAPI):
    """FastAPI with a document that is complete."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def application() -> Application:
    """An application without routes; FastAPI's own pages load scripts from elsewhere, ours do not."""
    return Application(
        title="Sonde",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=list(TAGS),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, ours = models_json_schema(
        [(model, "serialization") for model in (ProblemItem, SqlQuestion, Accepted)],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(ours["$defs"])
    schemas["Problem"] = {**schemas.pop("ProblemItem"), "title": "Problem"}
    schemas.update(_READINGS)
    for path in document["paths"].values():
        for operation in path.values():
            _without_null(operation.get("parameters", []))
    document["paths"] = {
        "/telemetry": {"post": _telemetry("telemetry", "`POST /ingest` is the same.")},
        "/ingest": {"post": _telemetry("ingest", "The same as `POST /telemetry`.")},
        **document["paths"],
    }
    return document


def _without_null(parameters: list[dict[str, Any]]) -> None:
    """A parameter that may be left out is not one that may be null: there is no null in a URL."""
    for parameter in parameters:
        schema = parameter["schema"]
        choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
        if len(choices) == 1:
            del schema["anyOf"]
            schema.update(choices[0])
