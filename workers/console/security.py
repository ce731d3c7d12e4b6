"""Where requests may come from and what answers carry: hosts, proxies, headers, paths."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from connect.config.models import is_loopback
from connect.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
        "object-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "connect",
}
HSTS: Final = "max-age=31536000"
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the console listens and whom it believes.

    `proxies`: addresses that may say for whom they ask (X-Forwarded-For, -Proto); `user_header`: in which header they name the user they
    have logged in; "" switches that off. `hosts`: names under which people reach it, beside `host`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxies: tuple[Network, ...] = ()
    user_header: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def has_tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def allowed(self) -> frozenset[str]:
        """Host names that a request may carry, in small letters and without a port."""
        own = LOOPBACK_NAMES if is_loopback(self.host) else (self.host,)
        return frozenset(name.casefold().strip("[]") for name in (*own, *self.hosts))


def listening(
    host: str,
    port: int,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    proxies: Sequence[str] = (),
    user_header: str = "",
    hosts: Sequence[str] = (),
) -> Listening:
    """Checked. Raises ConfigError for what is not safe, with the reason."""
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together: a certificate and its key, as PEM files", code="tls")
    networks = []
    for text in proxies:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise ConfigError(
                f"--trusted-proxy {text}: {error}; expected an address or a network such as 10.0.0.0/8", code="proxy"
            ) from None
    if any(network.prefixlen == 0 for network in networks):
        raise ConfigError("--trusted-proxy: that is everybody, who then could be anybody; name the proxy's own addresses", code="proxy")
    if user_header and not networks:
        raise ConfigError("--trusted-user-header needs --trusted-proxy: whose word counts?", code="proxy")
    if user_header and not user_header.replace("-", "").isalnum():
        raise ConfigError(f"--trusted-user-header {user_header}: expected a header's name such as X-Forwarded-User", code="proxy")
    if not is_loopback(host) and tls_cert is None and not networks:
        raise ConfigError(
            f"--host {host} is reached from elsewhere, and passwords and sessions would travel unencrypted: give --tls-cert and --tls-key, "
            "or --trusted-proxy with the address of a proxy that has TLS, or stay on 127.0.0.1",
            code="plain",
        )
    if host in _ANY_ADDRESS and not hosts:
        raise ConfigError(f"--host {host}: say under which name people reach it, with --public-host NAME", code="host")
    return Listening(
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        proxies=tuple(networks),
        user_header=user_header,
        hosts=tuple(hosts),
    )


def tls_context(listening: Listening) -> ssl.SSLContext | None:
    """The server's side of TLS 1.2 or newer. Raises ConfigError for files that are none."""
    if listening.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listening.tls_cert, listening.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--tls-cert {listening.tls_cert}, --tls-key {listening.tls_key}: {error}", code="tls") from None
    return context


def peer(request: web.Request) -> str:
    """The address at the other end of the connection; "" when there is none (a Unix socket)."""
    return request.remote or ""


def is_trusted(listening: Listening, address: str) -> bool:
    """Whether it is one of the proxies."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found.version == network.version and found in network for network in listening.proxies)


def client_address(listening: Listening, request: web.Request) -> str:
    """Whose request it is: the nearest address in X-Forwarded-For that is no proxy of ours, when a proxy of ours says so."""
    address = peer(request)
    if not is_trusted(listening, address):
        return address
    for text in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
        said = text.strip()
        try:
            ipaddress.ip_address(said)
        except ValueError:
            return address
        if not is_trusted(listening, said):
            return said
    return address


def is_secure(listening: Listening, request: web.Request) -> bool:
    """Whether the person's own connection is encrypted; cookies are for such alone then."""
    if listening.has_tls:
        return True
    if not is_trusted(listening, peer(request)):
        return False
    return request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().casefold() == "https" or not is_loopback(listening.host)


def host_of(text: str) -> str:
    """A Host header's name without its port; "" for one that is none."""
    try:
        parts = urlsplit("//" + text)
        _port = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == text and "@" not in text else ""


def is_same_origin(request: web.Request) -> bool:
    """Whether a browser says that the form is a page of ours. One that says nothing is taken at its token."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.casefold() == request.headers.get("Host", "").casefold()
    except ValueError:
        return False


def local_path(text: str, default: str = "/") -> str:
    """A path of ours to go on to; the default for anything that could lead elsewhere."""
    if (
        not text.startswith("/")
        or text[1:2] in ("/", "\\")
        or not text.isprintable()
        or "\\" in text
        or len(text) > 2000
        or not text.isascii()
    ):
        return default
    return text


def add_headers(listening: Listening, request: web.Request, answer: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value) if name != "Server" else answer.headers.update({name: value})
    answer.headers.setdefault("Cache-Control", "no-store")
    if is_secure(listening, request):
        answer.headers["Strict-Transport-Security"] = HSTS
