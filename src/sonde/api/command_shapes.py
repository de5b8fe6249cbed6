"""The shapes of commands, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sonde.api.answers import Shape, Time

State = Literal["queued", "delivered", "running", "succeeded", "failed", "expired", "cancelled", "unknown"]
Name = Annotated[str, Field(max_length=256)]


class NewCommand(Shape):
    """What to do."""

    device: Name = Field(examples=["demo-device"])
    command: Name = Field(description="One that its profile declares", examples=["calibrate_sensors"])
    parameters: dict[str, Any] = Field(default={}, examples=[{"duration": 3}])
    expires_in: (
        Annotated[float, Field(gt=0, le=2_592_000)]
        | Annotated[str, Field(max_length=16, pattern="^[1-9][0-9]?(s|m|h|d)$")]
        | None
    ) = Field(
        default=None,
        description="How long it waits for its device: seconds, or a span such as `5m`; 5 minutes unless set",
        examples=[60],
    )
    idempotency_key: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None, description="The same key of the same caller gives one command, however often it is sent"
    )
    dry_run: bool = Field(default=False, description="Only check it")


class CommandItem(Shape):
    id: str
    device: str
    command: str
    parameters: dict[str, Any] = Field(description="With the defaults of those that were left out")
    who: str = Field(description="The name of the token that asked for it")
    state: State
    progress: float | None = Field(description="From 0 to 1, as far as its device says")
    message: str = Field(description="The device's, or why nothing came of it")
    details: Any = Field(description="What the device gave back")
    node: str = Field(description="That it was handed to; empty until then")
    accepted_at: Time
    expires_at: Time
    handed_at: Time | None
    delivered_at: Time | None = Field(description="When its node wrote it down")
    started_at: Time | None
    finished_at: Time | None


class GivenCommand(CommandItem):
    online: bool = Field(description="Whether the node that has the device waits for commands now")


class CheckedCommand(Shape):
    valid: Literal[True]
    device: str
    command: str
    parameters: dict[str, Any] = Field(description="With the defaults of those that were left out")
    node: str = Field(description="That has the device")
    online: bool = Field(description="Whether it waits for commands now")


class CommandStep(Shape):
    step: Literal["accepted", "delivered", "running", "succeeded", "failed", "expired", "cancelled", "unknown"]
    time: Time
    message: str
    progress: float | None
    details: Any


class CommandDetail(CommandItem):
    steps: list[CommandStep] = Field(description="What happened to it, oldest first")


class NodePoll(Shape):
    """A node asks what there is to do."""

    epoch: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="Of its command book")
    session: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="New with each start of the node")
    seen: Annotated[int, Field(ge=0, le=2**52)] = Field(default=0, description="Number of the newest answer it holds")
    wait: Annotated[float, Field(ge=0, le=30)] = Field(default=0, description="Seconds to wait for something to do")


class NodeTask(Shape):
    id: str
    device: str
    command: str
    parameters: dict[str, Any]
    expires_in: float = Field(description="Seconds from now; below 0: it may not begin any more")
    begun: bool = Field(description="It was seen to run, so it never may again")


class NodeTasks(Shape):
    number: int
    log: str = Field(description="The log that the server has")
    tasks: list[NodeTask]
