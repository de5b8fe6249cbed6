"""The shapes of what nodes ask and are answered, for the OpenAPI document."""

from pydantic import Field

from sonde.api.answers import Shape, Time
from sonde.api.people_shapes import Name


class NewInvitation(Shape):
    """For whom."""

    node: Name = Field(description="The name of the node", examples=["attic"])
    devices: list[Name] = Field(
        default=[], max_length=100, description="Devices it may write, as patterns; none means all"
    )
    lasts: str = Field(
        default="", max_length=64, description="How long the code is good; empty: an hour", examples=["1h"]
    )


class InvitationItem(Shape):
    node: str
    code: str = Field(description="Good once. It is not shown again")
    expires: Time


class JoinRequest(Shape):
    """A code, and what the node wants signed."""

    code: str = Field(min_length=1, max_length=256)
    request: str = Field(
        default="",
        max_length=8192,
        description="A certificate request (PKCS #10) in PEM for a key of EC P-256; empty: a token is enough",
    )


class JoinedItem(Shape):
    node: str
    token: str = Field(description="The node's token. It is not shown again")
    certificate: str | None = Field(description="In PEM; null without a request or a private authority")
    authority: str | None = Field(description="The authority that made it, in PEM")


class RenewRequest(Shape):
    """What the node wants signed."""

    request: str = Field(
        min_length=1, max_length=8192, description="A certificate request (PKCS #10) in PEM for a key of EC P-256"
    )


class RenewedItem(Shape):
    certificate: str = Field(description="In PEM")
    authority: str = Field(description="The authority that made it, in PEM")
