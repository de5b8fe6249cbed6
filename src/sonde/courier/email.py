"""Messages by e-mail, over SMTP (RFC 5321) with TLS unless told otherwise."""

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final, Literal

from sonde.errors import Doubtful, Reject, Retry
from sonde.notice import Message

Tls = Literal["starttls", "tls", "none"]
_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Email:
    """Port ``Courier`` to some mailboxes, by way of one server. Without ``user`` nobody signs in."""

    server: str
    port: int
    sender: str
    to: Sequence[str]
    tls: Tls = "starttls"
    user: str = ""
    password: str = ""

    def send(self, message: Message) -> None:
        letter = self._letter(message)
        try:
            server = self._connected()
        except (smtplib.SMTPException, OSError) as error:
            raise Retry(f"the mail server {self.server} cannot be used ({_reason(error)})") from None
        try:
            server.send_message(letter)
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _ in error.recipients.values())
            raise _refused(f"the mail server {self.server} refused all recipients", code) from None
        except smtplib.SMTPResponseException as error:
            raise _refused(f"the mail server {self.server} answered {_reason(error)}", error.smtp_code) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Doubtful(f"the mail server {self.server} did not answer ({_reason(error)})") from None
        finally:
            with suppress(smtplib.SMTPException, OSError):
                server.quit()

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.server, self.port, timeout=_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.server, self.port, timeout=_SECONDS)
        try:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
        except BaseException:
            server.close()
            raise
        return server

    def _letter(self, message: Message) -> EmailMessage:
        letter = EmailMessage()
        repeat = "(repeat) " if message.body.get("repeat") else ""
        letter["Subject"] = f"[Sonde] {repeat}{' '.join(message.subject.split())}"
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.to)
        letter["Date"] = formatdate()
        letter["Message-ID"] = f"<{message.id}@{self.sender.rpartition('@')[2] or 'sonde'}>"  # the same for a repeat
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers
        letter.set_content(message.text + "\n")
        return letter


def _refused(text: str, code: int) -> Retry | Reject:
    """4xx is for now, 5xx for good (RFC 5321, 4.2.1)."""
    return Retry(text) if 400 <= code < 500 else Reject(text)


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        return f"{error.smtp_code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
    return str(error) or type(error).__name__
