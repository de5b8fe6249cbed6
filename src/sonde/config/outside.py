"""The sections of whom to tell of alerts: ``[webhook.NAME]`` and ``[email.NAME]``."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator

from sonde.config.key import Section, key
from sonde.config.values import Flag, Items, Span


def _web_address(given: SecretStr) -> SecretStr:
    text = given.get_secret_value().strip()
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("should be the address of a web hook such as https://example.org/hook")
    return SecretStr(text)


class Outside(Section):
    """Whom to tell of alerts."""

    enabled: Flag = key(True, "Whether anything is sent.")
    severity: Literal["info", "warning", "critical"] = key("info", "Tell of alerts that are at least as bad.")
    events: Items = key(
        ("fired", "resolved"),
        "What to tell of: fired, acknowledged, shelved, unshelved, resolved.",
        example="fired, resolved",
    )
    rule: str = key("*", "Pattern of the rules.", min_length=1)
    device: str = key("*", "Pattern of the devices.", min_length=1)
    site: str = key("*", "Pattern of the sites.", min_length=1)
    zone: str = key("*", "Pattern of the zones.", min_length=1)
    gather: Span = key(10.0, "How long to wait for more to tell in the same message.", ge=0, le=3600)

    @model_validator(mode="after")
    def _known_events(self) -> "Outside":
        unknown = set(self.events) - {"fired", "acknowledged", "shelved", "unshelved", "resolved"}
        if unknown:
            raise ValueError(
                f"events: {min(unknown)!r} is none; there are fired, acknowledged, shelved, unshelved, resolved"
            )
        return self


class Webhook(Outside):
    """A web hook that is told of alerts: a POST of JSON, signed with the secret."""

    url: Annotated[SecretStr, AfterValidator(_web_address)] = key(
        SecretStr(""), "Where to send. Who knows it can write there, so it is kept like a password."
    )
    secret: SecretStr = key(SecretStr(""), "Signs each message, so that its receiver knows whom it is from.")
    allow_private: Flag = key(False, "Whether the address may be one of this machine or of its own network.")

    @model_validator(mode="after")
    def _has_a_place(self) -> "Webhook":
        if self.enabled and not self.url.get_secret_value():
            raise ValueError("url is missing")
        return self


class Email(Outside):
    """Mailboxes that are told of alerts."""

    server: str = key("", "The mail server that sends for you.", example="smtp.example.org")
    port: int = key(587, "Its port.", ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = key("starttls", "How the way there is encrypted.")
    user: str = key("", "Who signs in; empty: nobody.")
    password: SecretStr = key(SecretStr(""), "The user's password.")
    sender: str = key("", "The address it comes from.", example="sonde@example.org")
    to: Items = key((), "The addresses it goes to.", example="night@example.org")

    @model_validator(mode="after")
    def _has_a_place(self) -> "Email":
        missing = [name for name in ("server", "sender", "to") if not getattr(self, name)]
        if self.enabled and missing:
            raise ValueError(f"{missing[0]} is missing")
        return self
