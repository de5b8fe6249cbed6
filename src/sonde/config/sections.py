"""The sections of the configuration that are there once each."""

from ipaddress import ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from sonde.config.keeping import Kafka, Log, Store
from sonde.config.key import Section, key
from sonde.config.values import Ages, Flag, Keys, MaybeCount, MaybeSize, MaybeSpan, Size, Span, Spans, Words

_NONE: Final = SecretStr("")
_DAY: Final = 86_400.0
_SCOPES: Final = frozenset({"ingest", "read", "command", "admin"})


def _scopes(words: tuple[str, ...]) -> tuple[str, ...]:
    wrong = sorted(set(words) - _SCOPES)
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no scope; there are ingest, read, command and admin")
    return words


def _networks(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        try:
            ip_network(word, strict=False)
        except ValueError:
            raise ValueError(f"{word!r} is no address or network; one looks like 10.0.0.7 or 10.0.0.0/24") from None
    return words


def _shed(words: tuple[str, ...]) -> tuple[str, ...]:
    wrong = sorted(set(words) - {"log", "readings", "windows"})
    if wrong or len(set(words)) != len(words):
        raise ValueError(f"{wrong[0] if wrong else words[0]!r} is unknown or twice; there are log, readings, windows")
    return words


def _origin(text: str) -> str:
    origin = text.strip().rstrip("/")
    parts = urlsplit(origin)
    if origin and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query):
        raise ValueError("is no origin; one looks like https://dash.example.org, and * is not allowed")
    return origin


def _sink_url(given: object) -> str:
    """The sink's address; what older installations wrote with the path of the route, or without ``http://``, is meant."""
    text = str(given).strip().rstrip("/")
    if not text:
        return ""
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should be the address of a sink such as https://sonde.example.org:8000")
    for path in ("/telemetry", "/ingest", "/uplink"):
        url = url.removesuffix(path)
    return url


def _windows(widths: tuple[float, ...]) -> tuple[float, ...]:
    for width in widths:
        if width < 1 or width != int(width) or _DAY % width:
            raise ValueError("should be whole seconds that divide a day, such as 5m, 15m, 1h")
    if not widths or len(set(widths)) != len(widths):
        raise ValueError("should name one width or more, each once")
    return tuple(sorted(widths))


class Server(Section):
    """Where Sonde listens."""

    host: str = key(
        "127.0.0.1",
        "Address to listen on. Loopback is reachable from this machine only; 0.0.0.0 is every network.",
        older=("telemetry_sink_server.bind_address", "HOST"),
        min_length=1,
    )
    port: int = key(
        8000,
        "Port to listen on; 0 takes any free one.",
        older=("telemetry_sink_server.port", "PORT"),
        ge=0,
        le=65535,
    )
    max_connections: int = key(
        1000, "Connections open at the same time; more are turned away.", older=("MAX_CONNECTIONS",), ge=1, le=100_000
    )
    origin: Annotated[str, AfterValidator(_origin)] = key(
        "",
        "Another web origin whose pages may ask this server (CORS and WebSocket).",
        older=("FRONTEND_URL",),
        example="https://dash.example.org",
    )
    names: Words = key(
        (), "Names that browsers may call this server by, besides localhost.", example="sonde.example.org"
    )
    trusted_proxies: Annotated[Words, AfterValidator(_networks)] = key(
        (),
        "Proxies in front, as addresses or networks: only they are believed when X-Forwarded-For says who asks, and "
        "X-Forwarded-Proto how.",
        example="127.0.0.1",
    )
    header_timeout: Span = key(10.0, "Time for a request's headers to arrive.", gt=0, le=3600)
    body_timeout: Span = key(30.0, "Time for a request's body to arrive.", gt=0, le=3600)


class Tls(Section):
    """TLS at the listener: https for sink and api. `sonde init --tls` makes a private authority and a certificate."""

    enabled: Flag = key(False, "Whether the listener speaks TLS, and nothing else.")
    certificate: str = key(
        "",
        "Certificate of the server in PEM, with the chain behind it. Empty: tls/server.pem of the data directory.",
        example="/etc/sonde/server.pem",
    )
    certificate_key: str = key("", "Its private key in PEM. Empty: in the same file.", example="/etc/sonde/server.key")
    client_ca: str = key(
        "",
        "Authority whose certificates nodes may show. Empty: tls/authority.pem of the data directory, if it is there.",
    )
    require_client: Flag = key(
        False, "Whether the token of a node is taken only beside the certificate that the node got with it."
    )
    handshake_timeout: Span = key(10.0, "Time for a TLS handshake.", gt=0, le=600)

    @model_validator(mode="after")
    def _named_and_used(self) -> "Tls":
        if not self.enabled and (self.certificate or self.require_client):
            named = "certificate" if self.certificate else "require_client"
            raise ValueError(f"{named} is set, and enabled is no; set enabled = yes, or take it out")
        if self.certificate_key and not self.certificate:
            raise ValueError("certificate_key is set without certificate; name both")
        return self


class Auth(Section):
    """Who may do what without a token. Everyone else needs one: `sonde token create`."""

    anonymous_scopes: Annotated[Words, AfterValidator(_scopes)] = key(
        (), "Scopes that callers on this machine have without a token: ingest, read.", example="read"
    )


class Sink(Section):
    """How much the sink takes in."""

    max_body: Size = key(32 << 20, "Largest body of a request, as it travels.", ge=1024, le=256 << 20)
    max_decompressed: Size = key(64 << 20, "Largest body of a request, decompressed.", ge=1024, le=256 << 20)
    bytes_per_second: Size = key(
        1 << 30,
        "Budget of all callers together.",
        older=("telemetry_sink_rate_limit.limit_bytes_per_sec",),
        ge=1,
    )
    burst: Size = key(
        2 << 30,
        "What all callers together may send at once after a pause.",
        older=("telemetry_sink_rate_limit.capacity_bytes",),
        ge=1,
    )
    token_bytes_per_second: Size = key(1 << 30, "Budget of one token.", ge=1)
    token_burst: Size = key(2 << 30, "What one token may send at once after a pause.", ge=1)
    future_limit: Span = key(_DAY, "How far ahead of this machine's clock a reading may be.", ge=0, le=366 * _DAY)


class Process(Section):
    """What is made of the readings."""

    windows: Annotated[Spans, AfterValidator(_windows)] = key(
        (300.0, 900.0), "Widths of the windows that are kept for every series; each divides a day."
    )
    remember: Span = key(7 * _DAY, "How long identities are remembered, to recognise what is sent twice.", ge=60)
    remember_most: int = key(1_000_000, "The most identities that are remembered.", ge=1000)


class Retention(Section):
    """What is let go of, and when. By default everything is kept until the disk is nearly full; then the log is cut below the
    newest checkpoints, so that nothing that can be asked for is lost, and what does not fit after that is refused (503)."""

    readings: MaybeSpan = key(None, "Age at which raw readings go. Empty: never.", ge=1, example="365d")
    readings_size: MaybeSize = key(
        None,
        "Most bytes of sealed raw readings, in PostgreSQL of all of them; then the oldest go, by whole days there.",
        ge=1 << 10,
    )
    windows: Ages = key({}, "Age at which windows of each width go. Not named: never.", example="5m: 365d, 15m: 1825d")
    windows_size: MaybeSize = key(None, "Most bytes of sealed windows; then the oldest go.", ge=1 << 10)
    alerts: MaybeSpan = key(None, "Age at which alerts go, from when they were over. Empty: never.", ge=1)
    alerts_most: MaybeCount = key(None, "Most alerts that are over; then those over first go.", ge=1)
    commands: MaybeSpan = key(
        None, "Age at which commands and their steps go, once they are over. Empty: never.", ge=60
    )
    log: MaybeSpan = key(None, "Age at which the log is cut, in whole segments below the newest checkpoints.", ge=1)
    log_size: MaybeSize = key(None, "Most bytes of the log; then it is cut so too.", ge=64 << 10)
    audit: MaybeSpan = key(None, "Age at which acts leave the audit trail. Empty: never.", ge=3600)
    warn_below: MaybeSize = key(
        None, "Free disk space below which a warning is given. Empty: four times [log] reserve."
    )
    shed_below: MaybeSize = key(None, "Free disk space below which shedding begins. Empty: twice [log] reserve.")
    shed: Annotated[Words, AfterValidator(_shed)] = key(
        ("log",),
        "What goes, in this order, while too little of the disk is free: log, readings, windows. Readings and windows that "
        "are shed are lost, and told as such.",
        example="log, readings",
    )


class Node(Section):
    """The node: the part beside the sensors, which keeps readings until a sink has them."""

    sink: Annotated[str, BeforeValidator(_sink_url)] = key(
        "",
        "Address of the sink that `sonde node` sends to.",
        older=("telemetry_sink.endpoint",),
        example="https://sonde.example.org:8000",
    )
    api: Annotated[str, BeforeValidator(_sink_url)] = key(
        "",
        "Address of the api, where the node hears of commands and renews its certificate. Empty: the sink's, as where one "
        "server or one proxy is both.",
        example="https://api.example.org:8000",
    )
    token: SecretStr = key(
        _NONE,
        "Token of the node: sonde token create NAME --scope ingest --node NAME. Empty: what sonde node join brought.",
    )
    ca: str = key(
        "",
        "File with the authorities to trust where the sink's address is https. Empty: what sonde node join brought, else "
        "those of the system.",
        example="/etc/sonde/authority.pem",
    )
    certificate: str = key(
        "",
        "File with the node's own certificate and key in PEM. Empty: what sonde node join brought, if anything.",
    )
    outbox: Size = key(10**9, "Most bytes that wait in the outbox; then the oldest make way.", ge=1 << 20)
    encryption_key: Keys = key(
        _NONE, "Master key of the outbox, as in [log]. Empty: keys.json beside the outbox, made on the first start."
    )
    initial_delay: Span = key(
        0.5,
        "First wait after the sink could not be reached; it doubles.",
        older=("retry.initial_delay",),
        gt=0,
        le=3600,
    )
    max_delay: Span = key(
        30.0, "Longest wait before the sink is tried again.", older=("retry.max_delay",), gt=0, le=_DAY
    )

    @model_validator(mode="after")
    def _delays_in_order(self) -> "Node":
        if self.initial_delay > self.max_delay:
            raise ValueError("initial_delay should not be longer than max_delay")
        return self


class Api(Section):
    """Questions."""

    clear_history: Flag = key(
        False,
        "Whether /historical-data shows only what came after the start. Nothing is deleted.",
        older=("CLEAR_HISTORY_ON_RESTART",),
    )
    sql_time: Span = key(10.0, "Time that one SQL question may take.", gt=0, le=3600)
    sql_rows: int = key(100_000, "Most rows of an answer in SQL.", ge=1, le=10_000_000)


SECTIONS: Final[dict[str, type[Section]]] = {
    "server": Server,
    "tls": Tls,
    "auth": Auth,
    "sink": Sink,
    "log": Log,
    "store": Store,
    "process": Process,
    "retention": Retention,
    "node": Node,
    "api": Api,
    "kafka": Kafka,
}
