"""Backup and restore: everything that only Redis has comes back, what must be made anew does not, and a damaged file changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import secrets
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from connect.errors import ConfigError
from connect.state import epoch
from connect.state.audit import Audit
from connect.state.backup import Damaged, backup, check, restore
from connect.state.known import OPEN, BlockInfo, Entry, Index, Known, Label


async def contents(redis: Redis, *patterns: str) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    for pattern in patterns or ("*",):
        async for key in redis.scan_iter(match=pattern, count=1000):
            kind = (await redis.type(key)).decode()
            read = {
                "string": redis.get, "hash": redis.hgetall, "set": redis.smembers,
                "zset": lambda one: redis.zrange(one, 0, -1, withscores=True),
                "list": lambda one: redis.lrange(one, 0, -1), "stream": redis.xrange,
            }[kind]  # fmt: skip
            found[key] = await read(key)
    return found


async def fill(redis: Redis) -> None:
    """Some of everything, with bytes of every value, small and large."""
    every = bytes(range(256))
    await redis.hset("connect:s:dl:0123abcd-1", mapping={"state": "open", "payload": b"sealed1:" + every, "facts": "{}"})
    await redis.rpush("connect:s:dl:0123abcd-1:history", "a", every, "a")
    await redis.zadd("connect:s:dl:state:open", {"0123abcd-1": 1.5})
    await redis.hset("connect:s:dl:words", mapping={f"id{n}": f"words {n}" for n in range(3000)})
    await redis.zadd("connect:s:dl:by:error:x", {f"id{n}": n / 7 for n in range(3000)})
    await redis.sadd("connect:s:number:8543", *(f"document {n}" for n in range(3000)))
    for n in range(1200):
        await redis.xadd("connect:s:doc:bill:RP-A:story", {"step": f"{n}", "raw": every})
    await redis.hset("connect:s:doc:bill:RP-A", mapping={"state": "receipted"})
    await redis.pexpire("connect:s:doc:bill:RP-A", 10_000_000)
    await redis.hset("connect:s:holds", mapping={"*": "{}"})
    await redis.hset("connect:console:users", mapping={"ann": "{}"})
    await redis.hset("connect:s:run:r1", mapping={"state": "done"})
    audit = Audit(redis, "s")
    for n in range(3):
        await audit.add("edit", f"letter {n}", by="ann", why="ö")


async def known_rows(redis: Redis) -> Known:
    known = Known(redis, "s", "100", "Supplier")
    rows = [Entry(n, n + 100, n + 200, Label(f"V{n}", f"V{n}", f"Vendor {n}", ""), (n + 300,)) for n in range(1, 6)]
    await known.store_block(0, rows[:3])
    await known.store_block(1, rows[3:])
    await known.replace(Index([BlockInfo(3, 0, 77, 3), BlockInfo(OPEN, 1, 78, 2)], 2))
    return known


async def test_what_only_redis_has_comes_back_as_it_was(redis: Redis, tmp_path: Path) -> None:
    await fill(redis)
    before = await contents(redis)
    made = await backup(redis, tmp_path / "b.gz")
    assert (made.letters, made.acts) == (1, 3)
    assert stat.S_IMODE((tmp_path / "b.gz").stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [tmp_path / "b.gz"]  # noqa: ASYNC240
    await redis.flushall()
    assert await restore(redis, tmp_path / "b.gz") == check(tmp_path / "b.gz")
    before.pop(epoch.KEY.encode())
    assert await contents(redis) == before
    assert 9_000_000 < await redis.pttl("connect:s:doc:bill:RP-A") <= 10_000_000
    assert await Audit(redis, "s").verify() == (3, [])


async def test_what_is_made_anew_is_left_out(redis: Redis, tmp_path: Path) -> None:
    names = (
        "arq:job:x", "connect:queue:fetch", "connect:worker:fetch:a", "connect:token:c:u", "connect:sage:a:slots", "connect:sage:a:alive",
        "connect:s:doc:bill:RP-A:lock", "connect:s:running", "connect:s:wanted",
        "connect:s:owned", "connect:s:beat", "connect:s:part:r:p:pages", "connect:s:chunk:r:p:1",
        "connect:s:paused:post", "connect:s:distrust", "connect:console:session:x", "connect:console:tries:name:x", "connect:deployment",
    )  # fmt: skip
    for name in names:
        await redis.set(name, "x")
    await redis.set("connect:sage:a:usage:202603", "kept")
    await backup(redis, tmp_path / "b.gz")
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    assert await contents(redis) == {b"connect:sage:a:usage:202603": b"kept"}


async def test_restored_rows_keep_their_names_and_are_sent_once_more(redis: Redis, tmp_path: Path) -> None:
    known = await known_rows(redis)
    await backup(redis, tmp_path / "b.gz")
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    index = await known.index()
    assert [(info.until, info.digest, info.rows) for info in index.blocks] == [(3, 0, 3), (OPEN, 0, 2)]
    entries = [entry async for entry in known.stream(index)]
    assert [(entry.key, entry.raw, entry.meaning, entry.label.name) for entry in entries] == [(n, 0, 0, f"Vendor {n}") for n in range(1, 6)]


async def test_known_rows_that_are_replaced_meanwhile_are_read_again(redis: Redis, tmp_path: Path) -> None:
    known = await known_rows(redis)
    plain, count = redis.hmget, 0

    async def replacing(key: Any, names: Any) -> Any:
        nonlocal count
        count += 1
        if count == 1:
            rows = [Entry(9, 1, 1, Label("V9", "V9", "Nine", ""), (1,))]
            await known.store_block(2, rows)
            await known.replace(Index([BlockInfo(OPEN, 2, 0, 1)], 3), dropped=[0, 1])
        return await plain(key, names)

    redis.hmget = replacing  # type: ignore[method-assign]
    made = await backup(redis, tmp_path / "b.gz")
    assert made.left_out == ()
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    assert [entry.label.name async for entry in known.stream(await known.index())] == ["Nine"]


async def test_acts_written_meanwhile_leave_the_trail_whole(redis: Redis, tmp_path: Path) -> None:
    audit = Audit(redis, "s")
    for n in range(600):
        await audit.add("edit", f"{n}", by="ann")
    done = asyncio.Event()

    async def more() -> None:
        while not done.is_set():
            await audit.add("edit", secrets.token_hex(2), by="bo")

    writing = asyncio.create_task(more())
    made = await backup(redis, tmp_path / "b.gz")
    done.set()
    await writing
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    assert await audit.verify() == (made.acts, [])
    assert made.acts >= 600


async def test_a_letter_that_changed_meanwhile_is_in_the_list_of_its_state_alone(redis: Redis, tmp_path: Path) -> None:
    await redis.hset("connect:s:dl:0123abcd-1", mapping={"state": "resolved"})
    await redis.zadd("connect:s:dl:state:open", {"0123abcd-1": 5, "0123abcd-2": 6})
    await backup(redis, tmp_path / "b.gz")
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    assert await contents(redis, "*:state:*") == {b"connect:s:dl:state:resolved": [(b"0123abcd-1", 5.0)]}


async def test_a_run_that_was_under_way_has_ended(redis: Redis, tmp_path: Path) -> None:
    await redis.hset("connect:s:run:r1", mapping={"state": "running", "read": "5"})
    await backup(redis, tmp_path / "b.gz")
    await redis.flushall()
    await restore(redis, tmp_path / "b.gz")
    facts = await redis.hgetall("connect:s:run:r1")
    assert (facts[b"state"], facts[b"read"]) == (b"failed", b"5")
    assert b"backup" in facts[b"reason"]


async def test_a_store_that_is_not_empty_is_left_alone_unless_it_is_forced(redis: Redis, tmp_path: Path) -> None:
    await redis.set("connect:s:x", "kept")
    await backup(redis, tmp_path / "b.gz")
    await redis.delete("connect:s:x")
    await redis.set("connect:s:y", "mine")
    with pytest.raises(ConfigError, match=r"not empty \(1 keys, such as connect:s:y\); --force"):
        await restore(redis, tmp_path / "b.gz")
    assert await redis.get("connect:s:y") == b"mine"
    await redis.set("connect:worker:fetch:a", "1")
    with pytest.raises(ConfigError, match="1 workers are alive"):
        await restore(redis, tmp_path / "b.gz", force=True)
    await redis.delete("connect:worker:fetch:a")
    await redis.set("others", "theirs")
    await restore(redis, tmp_path / "b.gz", force=True)
    assert await contents(redis) == {b"connect:s:x": b"kept", b"others": b"theirs"}
    assert await epoch.age_s(redis) == 0, "what was under way before is waited for"


@pytest.mark.parametrize("damage", ["cut", "changed", "appended", "text", "newer", "no gzip"])
async def test_a_damaged_file_changes_nothing(damage: str, redis: Redis, tmp_path: Path) -> None:
    await fill(redis)
    good = tmp_path / "good.gz"
    await backup(redis, good)
    lines = gzip.decompress(good.read_bytes()).splitlines(keepends=True)
    bad = tmp_path / "bad.gz"
    bad.write_bytes(
        {
            "cut": gzip.compress(b"".join(lines[:-1])),
            "changed": gzip.compress(b"".join(lines).replace(b"receipted", b"intent---")),
            "appended": gzip.compress(b"".join([*lines, lines[1]])),
            "text": gzip.compress(b"hello\n"),
            "newer": gzip.compress(b"".join(lines).replace(b'"version":1', b'"version":2')),
            "no gzip": b"hello",
        }[damage]
    )
    before = await contents(redis)
    with pytest.raises(Damaged):
        await restore(redis, bad, force=True)
    half = tmp_path / "half.gz"
    half.write_bytes(good.read_bytes()[:-20])
    with pytest.raises(Damaged):
        await restore(redis, half, force=True)
    assert await contents(redis) == before


async def test_a_file_that_is_there_is_not_written_over(redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "b.gz").write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        await backup(redis, tmp_path / "b.gz")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        await backup(redis, tmp_path / "nowhere" / "b.gz")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        await restore(redis, tmp_path / "c.gz")


async def test_a_backup_names_the_moment_it_was_made(redis: Redis, tmp_path: Path) -> None:
    made = await backup(redis, tmp_path / "b.gz")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(made.at)).total_seconds()) < 60
