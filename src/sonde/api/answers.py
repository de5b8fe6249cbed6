"""The shapes of answers, for the OpenAPI document. The answers themselves are made from columns; a test compares them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

_TIME_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
Time = Annotated[
    str,
    Field(pattern=_TIME_PATTERN, json_schema_extra={"format": "date-time"}, examples=["2026-01-01T00:00:00.000000Z"]),
]
Count = Annotated[int, Field(ge=0)]
Lane = Literal["direct", "control", "live", "backlog"]
QUALITY: Final = "0 good, 1 failed, 2 out of the profile's range, 3 wrong type for the profile, 4 clock"


class Shape(BaseModel):
    """No member but these."""

    model_config = ConfigDict(extra="forbid")


class Health(Shape):
    status: Literal["ok", "degraded"]
    message: str
    active_connections: Count


class LaneState(Shape):
    lane: str
    readings: Count
    bytes: Count
    oldest: Count | None = Field(description="Microseconds since 1970")
    rejected: Count


class State(Shape):
    """Times are microseconds since 1970; counters count since the start of the process."""

    now: Count
    received: Count = Field(description="Readings that arrived")
    durable: Count = Field(description="Readings confirmed")
    stored: Count = Field(description="Readings in the store")
    duplicate: Count
    refused: Count = Field(description="Requests")
    log_end: Count = Field(description="Next offset of the log")
    stored_offset: Count = Field(description="Next offset to be stored")
    lag_seconds: float = Field(ge=0)
    last_durable: Count | None = Field(description="When the log was last written")
    series: Count
    alerts_firing: Count
    disk_free: Count = Field(description="Bytes")
    connections: Count
    outbox: list[LaneState]
    sensors: dict[str, str] = Field(description="By name, how each one is")
    problems: list[str] = Field(description="Why it is not ready; none: ready")
    warnings: list[str] = Field(description="What will be a problem if nobody looks after it")


class Alive(Shape):
    status: Literal["ok"]


class Kpi(Shape):
    site_id: str
    zone_id: str
    sensor_type: str
    current_avg: float | None
    current_max: float | None
    sample_count: Count
    last_updated: Time


class TrendPoint(Shape):
    timestamp: Time = Field(description="The start of the window")
    site_id: str
    zone_id: str
    avg: float | None = Field(description="Sum over count")
    min: float | None
    max: float | None
    count: Count


class HeatmapCell(Shape):
    site_id: str
    zone_id: str
    hour: int | None = Field(default=None, ge=0, le=23, description="UTC; only with `by=hour`")
    occupancy_rate: float | None = Field(description="Share of 5-minute windows in which anyone was there")
    avg_occupancy: float | None


class Latest(Shape):
    value: Any = Field(description="Of the type that came in; null if the sensor failed")
    time: Time
    quality: int = Field(ge=0, le=4, description=QUALITY)


class SeriesName(Shape):
    series: Count = Field(description="Its number, the same after a rebuild from the same log")
    device: str
    metric: str
    site: str
    zone: str
    labels: dict[str, str]
    kind: Literal["number", "integer", "boolean", "text", "json", "none"] = Field(description="Of its newest reading")
    unit: str = Field(description="As the device declares it; empty if it does not")


class SeriesItem(SeriesName, Latest):
    pass


class Drawn(SeriesName):
    step: int = Field(ge=0, description="Width of a bucket in microseconds; 0: readings as they came")
    time: list[int] = Field(description="Unix microseconds, ascending; of a bucket its start")
    value: list[Any] | None = Field(default=None, description="Of each reading; only if `step` is 0")
    min: list[float | None] | None = Field(default=None, description="Of each bucket")
    max: list[float | None] | None = Field(default=None, description="Of each bucket")
    avg: list[float | None] | None = Field(default=None, description="Of each bucket: sum over count")
    count: list[int] | None = Field(default=None, description="Numbers in each bucket")
    text: list[str | None] | None = Field(
        default=None,
        description="Of series of words: what all readings of a bucket say, null if they say several things",
    )
    quality: list[int] = Field(description=f"The worst in each bucket: {QUALITY}")


class StaleDevice(Shape):
    device_id: str
    site_id: str
    zone_id: str
    last_seen: Time


class Overview(Shape):
    time: Time
    readings: Count
    series: Count
    devices: Count
    alerts_firing: Count
    parts: Count
    part_bytes: Count
    received: Count = Field(description="Readings that arrived since the start of the process")
    lag_seconds: float = Field(description="Age of the oldest frame that is not stored yet")
    lag_frames: Count
    connections: Count
    sensors: dict[str, str] = Field(description="How each local sensor is")
    problems: list[str] = Field(description="Why it is not ready; none: it is")
    stale_seconds: float = Field(description="After so long without a reading a device is stale")
    stale_devices: Count
    stale: list[StaleDevice] = Field(description="The quietest of them, at most 20")


class DeviceItem(Shape):
    device_id: str
    site_id: str
    zone_id: str
    last_seen: Time = Field(description="Of its newest reading")
    metrics: dict[str, Latest] = Field(description="The newest value of each metric")
    avg_temp: float | None = Field(description="Average of the newest values of its `temperature` series")
    max_co2: float | None = Field(description="Greatest of the newest values of its `co2` series")
    stale: bool = Field(description="Nothing came for a while")


class LatestOfSeries(Latest):
    metric: str
    site: str
    zone: str
    labels: dict[str, str]


class DeviceDetail(DeviceItem):
    series: list[LatestOfSeries] = Field(
        description="The newest value of each series: a metric may have several, told apart by labels"
    )


class Record(Shape):
    type: Literal["data", "command_result", "device_message"]
    id: str = Field(description="The metric")
    device: str
    site: str
    zone: str
    labels: dict[str, str]
    timestamp: Time
    value: Any = Field(description="Of the type that came in; null if the sensor failed")
    quality: int = Field(ge=0, le=4, description=QUALITY)


class Records(Shape):
    data: list[Record]
    total_records: Count = Field(description="All readings stored")
    filtered_records: Count = Field(description="Those that match, from this page on")


class Range(Shape):
    min: float | None
    max: float | None


class TelemetryType(Shape):
    unit: str
    data_type: Literal["number", "integer", "boolean", "text", "json"]
    range: Range
    description: str
    enum: list[str] | None


class TelemetryTypes(Shape):
    telemetry_types: dict[str, TelemetryType] = Field(description="By metric")
    last_updated: Time | None = Field(description="When the newest profile came")


class TemplateParameter(Shape):
    type: Literal["int", "float", "string", "boolean", "array", "object"]
    required: bool
    enum: list[Any] | None
    min: float | None
    max: float | None
    description: str
    default: Any


class CommandTemplate(Shape):
    command: str
    parameters: dict[str, TemplateParameter]
    description: str


class CommandTemplates(Shape):
    command_templates: dict[str, CommandTemplate] = Field(description="By command")
    last_updated: Time | None = Field(description="When the newest profile came")


class LedgerItem(Shape):
    source: str
    lane: Lane
    sent: int = Field(description="stored + duplicate + refused + set_aside + lost + missing")
    stored: int
    duplicate: int
    refused: int
    set_aside: int
    lost: int
    missing: int


class GapItem(Shape):
    source: str
    lane: Lane
    epoch: str
    reason: Literal["missing", "lost", "set_aside", "expired", "purged"]
    first_seq: int
    last_seq: int
    readings: int
    noticed: Time | None = Field(description="When the server learned of it; null for what is missing")
    before: Time | None = Field(
        description="The readings were measured before this moment: of what is missing, that of the first reading after it; "
        "else when it was noticed. Null if it is not known"
    )
    detail: str | None


class SqlQuestion(Shape):
    sql: str = Field(
        min_length=1,
        max_length=100_000,
        description="One SELECT over the views readings, windows, alerts, devices and gaps",
        examples=["select device, count(*) from readings group by device"],
    )


class SqlAnswer(Shape):
    columns: list[str]
    rows: list[list[Any]]


class Session(Shape):
    name: str | None = Field(description="Of the token; null if nobody is signed in")
    scopes: list[Literal["ingest", "read", "command", "admin"]]
    expires: Time | None


class FieldProblem(BaseModel):
    field: str
    message: str


class ProblemItem(BaseModel):
    """RFC 9457."""

    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened, where, and what to do")
    field: str | None = Field(default=None, description="Which parameter or field is wrong")
    index: int | None = Field(default=None, description="Which reading is wrong, counted from 0")
    errors: list[FieldProblem] | None = Field(default=None, description="Each of them, if several fields are wrong")
    known: int | None = Field(default=None, description="Where the stream stands, after a 409")
    reasons: list[str] | None = Field(default=None, description="Why it is not ready")


class Accepted(Shape):
    status: Literal["accepted"]
    accepted: Count
