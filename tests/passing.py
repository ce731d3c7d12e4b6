"""Time passes for what Redis knows of documents, and nobody waits for it: every moment in there lies further back, and locks end."""

from __future__ import annotations

from redis.asyncio import Redis

from connect.state import epoch

MOMENTS = ("sent_at", "first_sent_at", "missed_at", "held_at")


async def passes(redis: Redis, seconds: float) -> None:
    """So much later."""
    async for key in redis.scan_iter(match="connect:*:doc:*:lock"):
        left_ms = await redis.pttl(key) - int(seconds * 1000)
        await (redis.pexpire(key, left_ms) if left_ms > 0 else redis.delete(key))
    async for key in redis.scan_iter(match="connect:*:doc:*", _type="HASH"):
        known = dict(zip(MOMENTS, await redis.hmget(key, MOMENTS), strict=True))
        earlier = {name: f"{float(at) - seconds:.6f}" for name, at in known.items() if at is not None}
        if earlier:
            await redis.hset(key, mapping=earlier)
    async for key in redis.scan_iter(match="connect:*:distrust"):
        await redis.set(key, f"{float(await redis.get(key)) - seconds:.6f}", keepttl=True)
    mark = await redis.get(epoch.KEY)
    if mark is not None:
        before, _, at_ms = mark.rpartition(b":")
        await redis.set(epoch.KEY, before + b":%d" % max(int(at_ms) - int(seconds * 1000), 1))
