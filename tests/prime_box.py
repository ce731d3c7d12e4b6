"""Prime's simulator alone, on loopback, with the kernel around it: what the tests of its interfaces share."""

from __future__ import annotations

from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web
from lxml import etree

from connect.sandbox.kernel import Kernel
from connect.sandbox.prime import PrimeSimulator

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
TYPES = {SOAP_11: "text/xml; charset=utf-8", SOAP_12: "application/soap+xml; charset=utf-8"}
CREDENTIALS = "<p:Environment>DEMO</p:Environment><p:UserID>connect</p:UserID><p:Password>demo-password</p:Password>"
PALETTE = "{http://palette.se/}"


def envelope(operation: str, inner: str = "", *, credentials: str = CREDENTIALS, version: str = SOAP_12) -> bytes:
    """A request as prime.md 6.1 writes it: `p:` is Palette's namespace."""
    return (
        f'<s:Envelope xmlns:s="{version}" xmlns:p="http://palette.se/"><s:Body>'
        f"<p:{operation}>{credentials}{inner}</p:{operation}></s:Body></s:Envelope>"
    ).encode()


def record(kind: str, *, transfer: bool | None = True, **fields: Any) -> str:
    """A record's element with children in no namespace, and TransferFromQueue."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<p:{kind}>{inner}</p:{kind}>" + (
        "" if transfer is None else f"<p:TransferFromQueue>{str(transfer).lower()}</p:TransferFromQueue>"
    )


class Fault(Exception):
    """A SOAP fault: HTTP status, code without prefix, text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status, self.code, self.text = status, code, text


class PrimeBox:
    """`async with PrimeBox() as box`."""

    async def __aenter__(self) -> Self:
        self.kernel = Kernel()
        self.prime = PrimeSimulator(self.kernel)
        app = web.Application(middlewares=[self.kernel.middleware("prime", self.prime)], client_max_size=64 * 1024 * 1024)
        app.router.add_routes(self.prime.routes)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = f"{self.base}/ws/webService.asmx"
        self._session = aiohttp.ClientSession()
        self._token = ""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    # -- SOAP

    async def post(self, body: bytes, *, version: str = SOAP_12, content_type: str | None = None) -> tuple[int, str, Any]:
        """(status, content type, root element)."""
        headers = {"Content-Type": content_type or TYPES[version]}
        async with self._session.post(self.url, data=body, headers=headers) as answer:
            return answer.status, answer.content_type, etree.fromstring(await answer.read())

    async def call(self, operation: str, inner: str = "", *, version: str = SOAP_12, credentials: str = CREDENTIALS) -> Any:
        """The result element, or None. Raises Fault."""
        status, _, root = await self.post(envelope(operation, inner, credentials=credentials, version=version), version=version)
        assert root.tag == f"{{{version}}}Envelope"
        content = root[0][0]
        if content.tag == f"{{{version}}}Fault":
            raise fault_of(status, content, version)
        assert status == 200
        assert content.tag == f"{PALETTE}{operation}Response"
        return content.find(f"{PALETTE}{operation}Result")

    async def code(self, operation: str, inner: str = "") -> tuple[int, str]:
        """(ResultCode, Message)."""
        result = await self.call(operation, inner)
        return int(result.findtext(f"{PALETTE}ResultCode")), result.findtext(f"{PALETTE}Message")

    async def insert(self, kind: str, **fields: Any) -> tuple[int, str]:
        """Insert a record of company 100; (ResultCode, Message)."""
        return await self.code(f"Insert{kind}", record(kind, **{"Company": "100", "KeyType": 1} | fields))

    # -- REST

    async def rest(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """(status, body) of a call below the base, with a token."""
        if not self._token:
            self._token = await self._authorize()
        async with self._session.request(
            method,
            f"{self.base}/api/v1.0{path}",
            data=body if isinstance(body, bytes) or body is None else orjson.dumps(body),
            params={name: str(value) for name, value in query.items()},
            headers={"Authorization": f"Bearer {self._token}"},
        ) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if answer.content_type == "application/json" else raw

    async def raw(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of anything."""
        async with self._session.request(method, url if url.startswith("http") else self.base + url, **options) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def _authorize(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": "connect", "client_secret": "demo-secret"}
        async with self._session.post(f"{self.base}/identity/connect/token", data=form) as answer:
            first = (await answer.json())["access_token"]
        body = {"tenantId": "demo", "user": "connect", "role": "integration"}
        headers = {"Authorization": f"Bearer {first}"}
        async with self._session.post(f"{self.base}/api/v1.0/Authorize", json=body, headers=headers) as answer:
            token: str = (await answer.json())["accessToken"]
            return token

    # -- control

    def records(self, kind: str, company: str | None = "100") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.prime.records(kind=kind, company=company)["records"]
        return found

    def load(self, kind: str, *records: dict[str, Any]) -> list[str]:
        """Load records; all must be taken. Their keys."""
        answer = self.prime.load(kind=kind, records=list(records))
        assert not answer["errors"], answer["errors"]
        keys: list[str] = answer["keys"]
        return keys


def fault_of(status: int, element: Any, version: str) -> Fault:
    if version == SOAP_11:
        code, text = element.findtext("faultcode"), element.findtext("faultstring")
    else:
        code = element.findtext(f"{{{version}}}Code/{{{version}}}Value")
        text = element.findtext(f"{{{version}}}Reason/{{{version}}}Text")
    return Fault(status, code.split(":")[1], text)
