"""Who is told of alerts, as the configuration says: a notifier for each, and its courier."""

import secrets
from collections.abc import Callable, Iterator
from typing import TypeAlias

from sonde.clock import Clock, SystemClock
from sonde.config import Email as EmailSettings
from sonde.config import Outside, Settings
from sonde.config import Webhook as WebhookSettings
from sonde.courier.email import Email
from sonde.courier.webhook import Webhook
from sonde.errors import NotFound
from sonde.metrics import Metrics
from sonde.notice import Interest, Message
from sonde.notify.notifier import Notifier
from sonde.ports import Courier, Notices, Store

Target: TypeAlias = tuple[str, Outside, Courier]


class Notifications:
    """All notifiers of a program; what becomes of each notice stands in ``notices``."""

    def __init__(
        self,
        settings: Settings,
        notices: Notices,
        store: Callable[[], Store],
        log: str,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._notifiers = [
            Notifier(
                *(name, _interest(section), courier, notices, store, log),
                clock=clock,
                metrics=metrics,
                gather=section.gather,
            )
            for name, section, courier in targets(settings, clock)
        ]

    def start(self) -> None:
        for notifier in self._notifiers:
            notifier.start()

    def stop(self, seconds: float) -> None:
        """What waits is sent by the next start."""
        for notifier in self._notifiers:
            notifier.stop(0.0)
        for notifier in self._notifiers:
            notifier.stop(seconds)


def targets(settings: Settings, clock: Clock) -> Iterator[Target]:
    """Everybody who is to be told, by the name of the section."""
    for name, webhook in settings.webhooks.items():
        if webhook.enabled:
            yield f"webhook.{name}", webhook, _webhook(webhook, clock)
    for name, email in settings.emails.items():
        if email.enabled:
            yield f"email.{name}", email, _email(email)


def _webhook(settings: WebhookSettings, clock: Clock) -> Courier:
    secret = settings.secret.get_secret_value().encode()
    return Webhook(settings.url.get_secret_value(), secret, clock, private=settings.allow_private)


def _email(settings: EmailSettings) -> Courier:
    return Email(
        server=settings.server,
        port=settings.port,
        sender=settings.sender,
        to=settings.to,
        tls=settings.tls,
        user=settings.user,
        password=settings.password.get_secret_value(),
    )


def _interest(settings: Outside) -> Interest:
    return Interest(
        severity=settings.severity,
        events=frozenset(settings.events),
        rule=settings.rule,
        device=settings.device,
        site=settings.site,
        zone=settings.zone,
    )


def named_target(settings: Settings, name: str) -> Courier:
    """The courier of ``webhook.NAME`` or ``email.NAME``; :class:`NotFound`."""
    found = {target: courier for target, _, courier in targets(settings, SystemClock())}
    if name not in found:
        there = ", ".join(found) or "none; write a section [webhook.NAME] or [email.NAME]"
        raise NotFound(f"nobody called {name!r} is to be told of alerts", hint=f"There are {there}")
    return found[name]


def trial() -> Message:
    """A message that tells of nothing."""
    text = "This is a test from Sonde. If you can read it, alerts will reach you."
    id_ = f"test-{secrets.token_hex(8)}"
    return Message(
        id_, "Test", text, {"version": 1, "id": id_, "repeat": False, "alerts": [], "test": True, "text": text}
    )
