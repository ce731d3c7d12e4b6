"""A sandbox whose Sage holds only vendors, as a process of its own: `python tests/bench/books.py --vendors 20000 [--sage-latency-ms 500]`.

Prints the ready line. Vendors are those of tests/world.py, loaded without the way over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import orjson
from world import vendors

from connect.sandbox.app import Sandbox, SandboxOptions
from connect.sandbox.sage import query


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vendors", type=int, required=True)
    parser.add_argument("--sage-latency-ms", type=float, default=0.0)
    parser.add_argument("--prime-latency-ms", type=float, default=0.0)
    given = parser.parse_args()
    options = SandboxOptions(
        sage_port=0, prime_port=0, size=None, sage_latency_ms=given.sage_latency_ms, prime_latency_ms=given.prime_latency_ms
    )
    query.PAGE_CACHE_BYTES = query.ROW_CACHE_BYTES = 8 * 1024**3  # type: ignore[misc]  # this company is large: each page is encoded once
    box = Sandbox(options)
    for batch in vendors(given.vendors):
        answer = box.sage.load(object="accounts-payable/vendor", mode="insert", records=batch)
        assert not answer["errors"], answer["errors"][:3]
    async with box:
        sys.stdout.write(orjson.dumps(box.ready).decode() + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
