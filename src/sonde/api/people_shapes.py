"""The shapes of answers about tokens, sessions and acts, for the OpenAPI document."""

from typing import Annotated, Literal

from pydantic import Field

from sonde.api.answers import Shape, Time

Scope = Literal["ingest", "read", "command", "admin"]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class NewToken(Shape):
    """What to make."""

    name: Name = Field(description="What to call it; two valid tokens may share a name", examples=["press-7"])
    scopes: list[Scope] = Field(min_length=1, max_length=4, examples=[["ingest"]])
    devices: list[Name] = Field(
        default=[], max_length=100, description="Devices it may write or command, as patterns; none means all"
    )
    node: str = Field(default="", max_length=256, description="The node that it identifies")
    expires: str = Field(
        default="",
        max_length=64,
        description="When it ends: after a span as in `90d`, or a moment; empty: never",
        examples=["90d"],
    )


class TokenItem(Shape):
    id: str
    name: str
    scopes: list[Scope | Literal["join"]] = Field(description="`join`: a code with which a node joins")
    devices: list[str] = Field(description="Devices it may write or command, as patterns; none means all")
    node: str
    created: Time
    last_used: Time | None = Field(description="To the minute")
    expires: Time | None
    state: Literal["valid", "expired", "revoked"]


class MadeToken(TokenItem):
    token: str = Field(description="The token itself. It is not shown again")


class SessionItem(Shape):
    id: str
    kind: Literal["browser", "link"] = Field(description="A browser that is signed in, or a link that waits to be used")
    name: str = Field(description="Of the token that it has the rights of")
    token: str = Field(description="The id of that token")
    created: Time
    expires: Time
    last_used: Time | None = Field(description="To the minute")
    address: str = Field(description="Where it signed in from; empty for a link")
    last_address: str = Field(description="Where it was used from last")
    agent: str = Field(description="What the browser called itself, up to 200 characters")


class ActItem(Shape):
    number: int = Field(ge=1)
    time: Time
    who: str = Field(description="The name of a token, or `local` for a command on the machine itself")
    what: str = Field(examples=["token.create"])
    on: str = Field(description="What it was done to")
    address: str = Field(description="Where the request came from; empty for commands on the machine")
    detail: dict[str, str]
