"""One exchange over true sockets: answers that are cut off, packed, packed wrongly, or no HTTP at all."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import aiohttp
import pytest

from connect.errors import OutcomeUnknown, Poison, Transient
from connect.http import Http


async def serve(answer: bytes):
    async def on_connect(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def packed(body: bytes, length: int | None = None) -> bytes:
    data = gzip.compress(body, mtime=0)  # a clock in it would give each test process other names
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (length or len(data), data)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (packed(b'{"a":1}'), b'{"a":1}'),
        (packed(bytes(30_000_000)), Poison),
        (packed(b'{"a":1}', length=999), Transient),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnothing", Transient),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 9\r\n\r\n" + zlib.compress(b"")[:4] + b"xxxxx", Transient),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", Transient),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Transient),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", Transient),
        (b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n", Transient),
        (b"rubbish\r\n\r\n", Transient),
        (b"", Transient),
    ],
)
async def test_true_sockets_with_false_answers(answer, expected):
    server, url = await serve(answer)
    async with server, aiohttp.ClientSession() as session:
        exchange = Http(session).exchange("GET", url, system="sage", max_bytes=20_000_000, timeout_s=60)
        if isinstance(expected, bytes):
            assert (await exchange).body == expected
        else:
            with pytest.raises(expected):
                await exchange


async def test_a_write_that_gets_no_connection_in_time_is_not_sent():
    heard, hangs_up = 0, asyncio.Event()

    async def on_connect(reader, writer):
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        heard += 1
        await hangs_up.wait()
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        http = Http(session)
        first = asyncio.create_task(http.exchange("POST", url, system="sage", timeout_s=60, safe=False))
        while not heard:
            await asyncio.sleep(0.01)
        with pytest.raises(Transient) as caught:
            await http.exchange("POST", url, system="sage", safe=False, connect_s=0.05)
        assert (type(caught.value), caught.value.code, heard) == (Transient, "unreachable", 1)
        hangs_up.set()
        with pytest.raises(OutcomeUnknown):
            await first
