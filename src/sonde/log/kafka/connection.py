"""How to reach a Kafka cluster: brokers, encryption, signing in."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from sonde.errors import Hold

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/,@\[\]]+)(:\d{1,5})?")
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_PORT: Final = ":9092"


@dataclass(frozen=True, slots=True)
class Connection:
    """Brokers and how to speak with them. ``servers`` is ``host:port``, with commas between; ``ca``, ``certificate`` and
    ``key`` are PEM texts, in which ``\\n`` may stand for a line's end. Secrets are not shown. :class:`Hold` if it makes no
    sense."""

    servers: str
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise _senseless("security_protocol", f"{self.protocol!r}", f"one of {', '.join(PROTOCOLS)}")
        if self.signs_in:
            if self.mechanism not in MECHANISMS:
                raise _senseless("sasl_mechanism", f"{self.mechanism!r}", f"one of {', '.join(MECHANISMS)}")
            if not self.username or not self.password:
                raise _senseless("sasl_username and sasl_password", "empty", "both given with SASL")
        elif self.username or self.password or self.mechanism:
            raise _senseless("security_protocol", self.protocol, "SASL_SSL where there is a user to sign in")
        if not self.encrypts and (self.ca or self.certificate or self.key):
            raise _senseless("security_protocol", self.protocol, "SSL or SASL_SSL where there are certificates")
        if bool(self.certificate) != bool(self.key):
            raise _senseless("ssl_cert and ssl_key", "only one of them", "both given, or neither")
        for name, text in (("ssl_ca", self.ca), ("ssl_cert", self.certificate), ("ssl_key", self.key)):
            if text and "-----BEGIN " not in text:
                raise _senseless(name, "no PEM text", "the text of the file itself: -----BEGIN …")

    @property
    def signs_in(self) -> bool:
        return self.protocol.startswith("SASL_")

    @property
    def encrypts(self) -> bool:
        return self.protocol.endswith("SSL")

    def settings(self) -> dict[str, str]:
        """The same in the words of librdkafka."""
        found = {"bootstrap.servers": self.servers, "security.protocol": self.protocol}
        if self.signs_in:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": self.username, "sasl.password": self.password}
        if self.ca:
            found["ssl.ca.pem"] = _lines(self.ca)
        if self.certificate:
            found |= {"ssl.certificate.pem": _lines(self.certificate), "ssl.key.pem": _lines(self.key)}
        return found


def read_url(url: str) -> tuple[str, str]:
    """The servers and the topic in ``kafka://host:9092[,host2:9092]/topic``; each may be missing. A port that is missing is
    9092. :class:`Hold` if it is no such address."""
    scheme, _, rest = url.partition("://")
    servers, _, topic = rest.partition("/")
    topic = unquote(topic)
    if scheme != "kafka" or (topic and not _TOPIC.fullmatch(topic)) or topic in {".", ".."}:
        raise _no_address(url)
    return read_servers(servers, url) if servers else "", topic


def read_servers(servers: str, said: str = "") -> str:
    """A list of brokers, each with its port."""
    found = []
    for one in servers.split(","):
        match = _ADDRESS.fullmatch(one.strip())
        if match is None:
            raise _no_address(said or servers)
        found.append(match[1] + (match[2] or _PORT))
    return ",".join(found)


def _lines(pem: str) -> str:
    """A PEM text as its file would have it; one that came through an environment may have lost the ends of its lines."""
    return pem.replace("\\n", "\n").strip() + "\n"


def _no_address(said: str) -> Hold:
    shown = re.sub(r"//[^/]*@", "//…@", said)
    return Hold(
        f"{shown!r} is no address of a Kafka topic",
        hint="Write kafka://host:9092,host2:9092/topic; users and passwords stand in [kafka]",
    )


def _senseless(name: str, given: str, wanted: str) -> Hold:
    return Hold(f"[kafka] {name} is {given}", hint=f"It must be {wanted}")
