"""Sends one message on one channel: by SMTP, or to a webhook of Slack or Teams. A few tries, then it is somebody's turn to look."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from connect.config import Notification
from connect.errors import Auth, ConnectError, Permanent, Transient
from connect.http import Http, error_of
from workers.notify.messages import Message, mail_of, slack_of, teams_of

TIMEOUT_S: Final = 10.0  # of one step: to connect, or of one command
WAITS_S: Final = (1.0, 4.0)  # between the tries of one message
REPLY_MOST: Final = 65_536


async def deliver(channel: Notification, message: Message, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> str:
    """Send it. Returns who did not get it although others did, "" when all have it.

    Raises ConnectError (that names no URL and no password) when it did not get through; three tries of what may pass.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            return await (_mail(channel, message) if channel.kind == "email" else _post(channel, message))
        except Transient:
            wait_s = next(waits, None)
            if wait_s is None:
                raise
            await sleep(wait_s)


async def _post(channel: Notification, message: Message) -> str:
    assert channel.webhook_url is not None
    url = channel.webhook_url.get_secret_value()
    body = slack_of(message) if channel.kind == "slack" else teams_of(message)
    where = f"the webhook at {urlsplit(url).hostname}"
    async with aiohttp.ClientSession() as session:
        try:
            reply = await Http(session).exchange(
                "POST", url, system=channel.kind, headers={"Content-Type": "application/json"}, data=orjson.dumps(body),
                timeout_s=TIMEOUT_S, max_bytes=REPLY_MOST,
            )  # fmt: skip
        except ConnectError as error:  # its message may hold the URL, which lets anybody write there
            code = {
                "unreachable": "cannot be reached",
                "bad_request": "cannot be called as its URL is written",
                "timeout": f"did not answer within {TIMEOUT_S:g} s",
            }
            words = f"{where} {code.get(error.code, 'broke the connection off')}"
            raise type(error)(words, system=channel.kind, code=error.code) from None
    if not 200 <= reply.status < 300:
        hint = {401: "; is its URL right?", 403: "; is its URL right?", 404: "; is its URL right?", 410: "; it was removed there"}
        failed = error_of(reply, system=channel.kind, message=f"{where} answered {reply.status}{hint.get(reply.status, '')}")
        failed.detail = ""
        raise failed
    return ""


async def _mail(channel: Notification, message: Message) -> str:
    assert channel.sender is not None
    mail = mail_of(message, channel.sender, channel.to)
    return await asyncio.to_thread(_send, channel, mail)


def _send(channel: Notification, mail: EmailMessage) -> str:
    """Blocks, for some time-outs at most. Returns who was refused while others were not: they must not get it twice."""
    host, port = channel.smtp_host or "", channel.smtp_port
    where = f"the mail server {host}:{port}"
    try:
        tls = None if channel.smtp_tls == "none" else ssl.create_default_context(cafile=channel.smtp_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(f"smtp_ca_file {channel.smtp_ca_file} cannot be read: {error.strerror or error}", code="ca_file") from error
    try:
        client = (
            smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=tls)
            if channel.smtp_tls == "tls"
            else smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        )
        with client:
            if channel.smtp_tls == "starttls":
                client.starttls(context=tls)
            if channel.smtp_username is not None and channel.smtp_password is not None:
                client.login(channel.smtp_username, channel.smtp_password.get_secret_value())
            refused = client.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        kind = Transient if all(400 <= code < 500 for code, _ in error.recipients.values()) else Permanent
        raise kind(_refused(where, error.recipients), code="recipient") from None
    except smtplib.SMTPAuthenticationError as error:
        raise Auth(f"{where} does not let {channel.smtp_username} in ({error.smtp_code})", code=str(error.smtp_code)) from None
    except smtplib.SMTPNotSupportedError as error:
        raise Permanent(f"{where}: {error}", code="not_supported") from error
    except smtplib.SMTPResponseException as error:
        kind = Transient if 400 <= error.smtp_code < 500 else Permanent
        raise kind(f"{where} refused the message: {error.smtp_code} {_words(error.smtp_error)}", code=str(error.smtp_code)) from None
    except ssl.SSLCertVerificationError as error:
        raise Permanent(f"{where} has a certificate that is not trusted: {error.verify_message}", code="certificate") from error
    except TimeoutError as error:
        raise Transient(f"{where} did not answer within {TIMEOUT_S:g} s", code="timeout") from error
    except (smtplib.SMTPException, OSError) as error:
        raise Transient(f"{where} cannot be reached: {getattr(error, 'strerror', None) or error}", code="unreachable") from error
    return _refused(where, refused) if refused else ""


def _refused(where: str, recipients: dict[str, tuple[int, bytes]]) -> str:
    return f"{where} takes no mail for {'; '.join(f'{address}: {code} {_words(said)}' for address, (code, said) in recipients.items())}"


def _words(said: bytes | str) -> str:
    return (said.decode(errors="replace") if isinstance(said, bytes) else said)[:200]
