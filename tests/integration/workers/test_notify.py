"""Messages to people get through: over real SMTP (with TLS and a password) and to a web server, once, and again when they did not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pipeline import THINGS, Pipeline, thing
from pydantic import SecretStr
from redis.asyncio import Redis

from connect.config import Notification
from connect.errors import Auth, Permanent, Transient
from connect.state.notices import Notices
from workers import overview
from workers.jobs import STAGES, Tools
from workers.metrics import measure
from workers.notify import Message, channels, deliver, digest_now, tell_people
from workers.notify.messages import clean, of_test, section
from workers.queues import sign_of_life

Make = Callable[..., Pipeline]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


# -- a mail server -----------------------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """What a mail server has taken. `answer`: what it says to the message, `refused`: recipients that it does not know."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: Any) -> str:  # noqa: N802
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.secured.append(session.ssl is not None)
        return "250 OK"


def check_password(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"connect", b"m41l"), handled=False)


@asynccontextmanager
async def mail_server(at_once: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Inbox]:
    """`at_once`: TLS from the first byte; else options of aiosmtpd, such as tls_context for STARTTLS."""
    inbox = Inbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop, hostname="127.0.0.1", **options), "127.0.0.1", 0, ssl=at_once)
    inbox.port = server.sockets[0].getsockname()[1]
    try:
        yield inbox
    finally:
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path_factory.mktemp("mail") / "mail.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
async def secured(tls: ssl.SSLContext) -> AsyncIterator[Inbox]:
    async with mail_server(tls_context=tls, require_starttls=True, auth_required=True, authenticator=check_password) as inbox:
        yield inbox


@pytest.fixture
async def plain() -> AsyncIterator[Inbox]:
    async with mail_server() as inbox:
        yield inbox


def mail_to(inbox: Inbox, **options: Any) -> Notification:
    facts = {
        "name": "mail", "kind": "email", "smtp_host": "127.0.0.1", "smtp_port": inbox.port, "smtp_tls": "none",
        "sender": "connect@example.com", "to": ("ops@example.com",), "after_minutes": 0,
    }  # fmt: skip
    return Notification(**facts | options)


def over_tls(inbox: Inbox, certificate: Path, **options: Any) -> Notification:
    facts = {"smtp_tls": "starttls", "smtp_ca_file": certificate, "smtp_username": "connect", "smtp_password": SecretStr("m41l")}
    return mail_to(inbox, **facts | options)


def a_message(channel: Notification) -> Message:
    return of_test(channel, "test.1", NOW, "https://connect.example.com")


async def no_wait(_: float) -> None:
    return


async def test_mail_goes_over_starttls_with_a_password_as_text_and_html(secured: Inbox, certificate: Path) -> None:
    channel = over_tls(secured, certificate)
    assert await deliver(channel, a_message(channel)) == ""
    (mail,) = secured.mails
    assert secured.secured == [True]
    assert (mail["Subject"], mail["To"], mail["Message-ID"]) == ("[Connect] test of mail", "ops@example.com", "<test.1@example.com>")
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "This is a test of the channel mail" in text
    assert '<a href="https://connect.example.com">' in html


async def test_mail_goes_over_tls_from_the_first_byte(tls: ssl.SSLContext, certificate: Path) -> None:
    async with mail_server(tls) as inbox:
        channel = mail_to(inbox, smtp_tls="tls", smtp_ca_file=certificate)
        await deliver(channel, a_message(channel))
        assert len(inbox.mails) == 1


async def test_a_wrong_password_is_said_without_it(secured: Inbox, certificate: Path) -> None:
    channel = over_tls(secured, certificate, smtp_password=SecretStr("wr0ng"))
    with pytest.raises(Auth, match="does not let connect in") as raised:
        await deliver(channel, a_message(channel), sleep=no_wait)
    assert "wr0ng" not in str(raised.value)
    assert secured.mails == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(secured: Inbox, certificate: Path) -> None:
    channel = over_tls(secured, certificate, smtp_ca_file=None)
    with pytest.raises(Permanent, match="a certificate that is not trusted"):
        await deliver(channel, a_message(channel), sleep=no_wait)


async def test_a_server_without_starttls_gets_no_password_and_no_mail(plain: Inbox) -> None:
    channel = mail_to(plain, smtp_tls="starttls")
    with pytest.raises(Permanent, match="STARTTLS"):
        await deliver(channel, a_message(channel), sleep=no_wait)
    assert plain.mails == []


async def test_what_a_mail_server_may_take_later_is_tried_again(plain: Inbox) -> None:
    plain.answers = ["451 try later", "452 full"]
    channel = mail_to(plain)
    await deliver(channel, a_message(channel), sleep=no_wait)
    assert len(plain.mails) == 1


async def test_tries_have_an_end_and_what_is_refused_is_not_tried_again(plain: Inbox) -> None:
    channel = mail_to(plain)
    plain.answers = ["451 try later"] * 9
    with pytest.raises(Transient, match="451 try later"):
        await deliver(channel, a_message(channel), sleep=no_wait)
    assert len(plain.answers) == 6
    plain.answers = ["554 spam"] * 9
    with pytest.raises(Permanent, match="554 spam"):
        await deliver(channel, a_message(channel), sleep=no_wait)
    assert len(plain.answers) == 8


async def test_mail_that_some_get_is_not_sent_to_them_again(plain: Inbox) -> None:
    plain.refused = ("gone@example.com",)
    channel = mail_to(plain, to=("ops@example.com", "gone@example.com"))
    assert "gone@example.com: 550 no such user" in await deliver(channel, a_message(channel), sleep=no_wait)
    assert len(plain.mails) == 1
    with pytest.raises(Permanent, match="no such user"):
        await deliver(mail_to(plain, to=("gone@example.com",)), a_message(channel), sleep=no_wait)


async def test_others_words_make_no_header_and_no_markup(plain: Inbox) -> None:
    channel = mail_to(plain)
    hostile = "<script>x</script>\r\nBcc: all@example.com\x00"
    message = replace(a_message(channel), subject=clean(hostile), sections=[section(hostile, [hostile])])
    await deliver(channel, message)
    (mail,) = plain.mails
    assert mail["Bcc"] is None
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "<script>x" in text
    assert "<script>" not in html
    assert "&lt;script&gt;x" in html


# -- a web server ------------------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A webhook. `answers`: its next statuses; then 200."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    asked: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.json()
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(body)
        return web.Response(status=status, text="s3cr3t is repeated", headers={"Location": self.url} if status == 302 else {})

    def subjects(self) -> list[str]:
        return [body["text"].removeprefix("[Connect] ") for body in self.bodies]


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    found = Hook()
    app = web.Application()
    app.router.add_post("/services/s3cr3t", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    found.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/services/s3cr3t"
    yield found
    await runner.cleanup()


def chat(hook: Hook, **options: Any) -> Notification:
    facts = {"name": "chat", "kind": "slack", "webhook_url": SecretStr(hook.url), "after_minutes": 0}
    return Notification(**facts | options)


async def test_slack_gets_blocks_and_teams_an_adaptive_card(hook: Hook) -> None:
    for kind in ("slack", "teams"):
        channel = chat(hook, kind=kind)
        await deliver(channel, replace(a_message(channel), subject="a < b & *c*"))
    slack, teams = hook.bodies
    assert slack["text"] == "a &lt; b &amp; *c*"
    assert [block["type"] for block in slack["blocks"]] == ["header", "section", "context"]
    assert (teams["type"], teams["attachments"][0]["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = teams["attachments"][0]["content"]
    assert card["body"][0]["text"] == r"a < b & \*c\*"
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Console", "url": "https://connect.example.com"}]


@pytest.mark.parametrize(
    ("answers", "asked", "error"),
    [([503, 429], 3, None), ([500] * 9, 3, Transient), ([404], 1, Permanent), ([302], 1, Permanent), ([403], 1, Auth)],
)
async def test_a_webhook_is_tried_again_where_that_may_help(hook: Hook, answers: list[int], asked: int, error: Any) -> None:
    hook.answers = answers
    channel = chat(hook)
    if error is None:
        await deliver(channel, a_message(channel), sleep=no_wait)
        assert len(hook.bodies) == 1
    else:
        with pytest.raises(error) as raised:
            await deliver(channel, a_message(channel), sleep=no_wait)
        assert "s3cr3t" not in repr(raised.value) + raised.value.detail
    assert hook.asked == asked


async def test_a_webhook_that_is_not_there_is_named_by_its_host_alone(hook: Hook) -> None:
    channel = chat(replace(hook, url="http://127.0.0.1:9/services/s3cr3t"))
    with pytest.raises(Transient, match=r"the webhook at 127\.0\.0\.1 cannot be reached") as raised:
        await deliver(channel, a_message(channel), sleep=no_wait)
    assert "s3cr3t" not in str(raised.value)


# -- looks of the schedule stage ---------------------------------------------------------------------------------------


def telling(box: Pipeline, *found: Notification) -> Tools:
    config = box.tools.config.model_copy(update={"notifications": list(found), "console_url": "https://connect.example.com"})
    return replace(box.tools, config=config, starts_due=True)


async def well(make: Make, **options: Any) -> Pipeline:
    """Everything is green: a run has ended well and workers are alive."""
    box = make(**options)
    for sage in box.sages.values():
        sage.put(THINGS, *(thing(n) for n in range(1, 5)))
    await box.sync()
    for stage in STAGES:
        await sign_of_life(box.tools.redis, f"{stage}:here:1:a", {}, 3600)
    return box


async def refused(box: Pipeline, name: str, count: int) -> None:
    error = Permanent("account SE45 of Secret Name is inactive", system="sage", code="X")
    one = next(one for one in box.tools.connections.values() if one.connection.name == name)
    made = [
        one.dead_letters.letter(
            company="100", job="GetThings", part="Thing", kind="Thing", key=n, number=f"T{n}", name="Secret Name",
            payload=b'{"iban":"SE45"}', error=error, run="", trace="",
        )
        for n in range(100, 100 + count)
    ]  # fmt: skip
    await one.dead_letters.put_many(made)


async def test_what_is_wrong_is_told_once_and_its_end_too(make: Make, hook: Hook, plain: Inbox) -> None:
    box = await well(make)
    tools = telling(box, chat(hook), mail_to(plain))
    await tell_people(tools)
    assert hook.bodies == []
    await box.connection.pauses.hold("job:GetThings", reason="stocktaking", by="ann")
    for _ in range(3):
        await tell_people(tools)
        box.clock.advance(minutes=1)
    await box.connection.pauses.lift("job:GetThings")
    for _ in range(2):
        await tell_people(tools)
    expected = ["amber: Somebody has paused GetThings (acme)", "resolved: Somebody has paused GetThings"]
    assert hook.subjects() == expected
    assert [mail["Subject"].removeprefix("[Connect] ") for mail in plain.mails] == expected


async def test_many_letters_of_several_connections_are_one_message_without_their_contents(make: Make, hook: Hook, plain: Inbox) -> None:
    box = await well(make, names=("acme", "beta"))
    tools = telling(box, chat(hook), mail_to(plain))
    for name in ("acme", "beta"):
        await refused(box, name, 30)
    await tell_people(tools)
    (body,) = hook.bodies
    (mail,) = plain.mails
    assert "2 connections" in body["text"]
    told = str(body) + mail.as_string()
    assert "acme: 30 dead letters" in told
    assert "beta: 30 dead letters" in told
    assert "https://connect.example.com/dead-letters?owner=" in told
    for content in ("SE45", "Secret Name"):
        assert content not in told


async def test_several_schedule_workers_tell_everything_once(make: Make, hook: Hook, valkey: str) -> None:
    box = await well(make)
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    async with Redis.from_url(valkey) as another:
        tools = telling(box, chat(hook))
        await asyncio.gather(*(tell_people(replace(tools, redis=redis)) for redis in (tools.redis, another) * 3))
        await tell_people(replace(tools, redis=another))
    assert len(hook.bodies) == 1


async def test_a_worker_that_ends_with_a_wait_tells_nobody(make: Make, hook: Hook) -> None:
    box = await well(make)
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    await tell_people(replace(telling(box, chat(hook)), starts_due=False))
    assert hook.asked == 0


async def test_a_channel_that_fails_is_a_reason_and_a_metric_and_tells_when_it_is_back(
    make: Make, hook: Hook, plain: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "WAITS_S", (0.0, 0.0))
    box = await well(make)
    tools = telling(box, chat(hook, quiet_minutes=0), mail_to(plain))
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    hook.answers = [500] * 6
    await tell_people(tools)
    assert hook.asked == 3
    await tell_people(tools)
    assert hook.asked == 3, "it rests for a minute"
    assert len(plain.mails) == 2, "the other channel has told both: the pause, and that nobody is told on the first"
    assert "Messages on chat do not get through" in plain.mails[1]["Subject"]
    (company,) = (await overview.overview(tools)).companies
    (reason,) = [reason for reason in company.reasons if reason.kind == "notification"]
    assert "the webhook at 127.0.0.1 answered 500" in reason.text
    assert (await measure(tools)).value("connect_notifications_failing", "chat") == 1
    assert (await measure(tools)).value("connect_notifications_failing", "mail") == 0
    box.clock.advance(minutes=1)
    await tell_people(tools)
    assert hook.asked == 6
    box.clock.advance(minutes=1)
    await tell_people(tools)
    assert hook.asked == 6, "now for two minutes"
    await box.connection.pauses.lift("job:GetThings")
    box.clock.advance(minutes=1)
    await tell_people(tools)
    assert hook.subjects() == ["resolved: chat works again"]
    await tell_people(tools)
    assert len(hook.bodies) == 1
    assert (await measure(tools)).value("connect_notifications_failing", "chat") == 0
    assert plain.mails[-1]["Subject"].startswith("[Connect] resolved: ")


async def test_nobody_who_got_a_message_gets_it_again_for_one_who_did_not(make: Make, plain: Inbox) -> None:
    box = await well(make)
    plain.refused = ("gone@example.com",)
    tools = telling(box, mail_to(plain, to=("ops@example.com", "gone@example.com")))
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    for _ in range(3):
        await tell_people(tools)
        box.clock.advance(minutes=40)
    assert len(plain.mails) == 1
    (failing,) = await Notices(tools.redis).failing(["mail"])
    assert "gone@example.com" in failing.why


async def test_the_summary_is_sent_once_a_day_with_what_is_wrong_and_what_waits(make: Make, plain: Inbox) -> None:
    box = await well(make)
    tools = telling(box, mail_to(plain, digest_at="13:00", immediate=False))
    await refused(box, "acme", 7)
    await tell_people(tools)
    assert plain.mails == []
    box.clock.advance(hours=1)
    for _ in range(3):
        await tell_people(tools)
    (mail,) = plain.mails
    assert mail["Subject"] == "[Connect] daily summary: 1 amber"
    text = next(mail.iter_parts()).get_content()
    assert "acme, company 100 [amber]" in text
    assert "7 dead letters for the operator" in text
    assert "7 × sage says X (Thing, acme; operator)" in text
    assert "Secret Name" not in mail.as_string()
    box.clock.advance(hours=24)
    await tell_people(tools)
    assert len(plain.mails) == 2
    assert plain.mails[0]["Message-ID"] != plain.mails[1]["Message-ID"]


async def test_the_summary_says_what_has_moved(make: Make) -> None:
    from workers.queues import sample

    box = await well(make)
    await sample(box.tools)
    shown = await digest_now(telling(box), mail_to(Inbox(port=25), digest_at="07:00"))
    assert "Rows in the last 24 hours" in [part.title for part in shown.sections]


async def test_a_bug_in_telling_stops_nothing(make: Make, hook: Hook) -> None:
    box = await well(make)
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")

    async def broken(_: Notification, __: Message) -> str:
        raise ZeroDivisionError

    await tell_people(telling(box, chat(hook), chat(hook, name="other")), deliver=broken)
    await tell_people(telling(box, chat(hook)))
    assert len(hook.bodies) == 1, "and what was not told is told with the next look"


async def test_a_channel_that_hangs_does_not_hold_up_the_others(make: Make, hook: Hook, plain: Inbox) -> None:
    box = await well(make)
    await box.connection.pauses.hold("job:GetThings", reason="x", by="ann")
    gone = asyncio.Event()

    async def hanging(channel: Notification, message: Message) -> str:
        if channel.name == "chat":
            await gone.wait()
        return await deliver(channel, message)

    look = asyncio.create_task(tell_people(telling(box, chat(hook), mail_to(plain)), deliver=hanging))
    async with asyncio.timeout(60):
        while not plain.mails:
            await asyncio.sleep(0.02)
    assert not look.done()
    gone.set()
    await look
    assert len(hook.bodies) == 1


async def test_redis_away_is_survived(make: Make, hook: Hook) -> None:
    box = await well(make)
    gone = Redis(host="127.0.0.1", port=9)
    await tell_people(replace(telling(box, chat(hook)), redis=gone))
    assert hook.asked == 0
    await gone.aclose()
