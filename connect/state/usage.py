r"""What was asked of Sage: calls, and what Sage counts as transactions, by object, job and day (UTC).

connect:sage:{company}:usage:{yyyymm}                hash   "{operation} {object}" -> calls; "transactions" -> what the entitlement counts
connect:sage:{company}:usage:{yyyymm}:transactions   hash   the same, "{operation} {object}" -> transactions
connect:{sid}:usage:{yyyymm}                         hash   "{what}\n{company}\n{job}\n{operation} {object}\n{dd}" -> number, `what` one of
                                                            calls, transactions, unanswered; "transactions" -> all of them
connect:{sid}:usage:since                            string when the first call of the connection was counted

A process adds what it has counted every few calls, every few seconds and at the end of each job. What one that is killed had not added
is missing. A call that nobody answered counts as a call and as `unanswered`: whether Sage has counted it, Sage alone knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, cast, get_args

from redis.asyncio import Redis
from redis.exceptions import RedisError

KEPT_S: Final = 500 * 86_400
FLUSH_EVERY: Final = 20
What = Literal["calls", "transactions", "unanswered"]
WHAT: Final[tuple[What, ...]] = get_args(What)
PURPOSE: Final[ContextVar[tuple[str, str]]] = ContextVar("PURPOSE", default=("", ""))
"""(company, job) that everything below asks Sage for; ("", "") for commands and the console."""


@dataclass(frozen=True)
class Counted:
    """One number of a connection's month."""

    what: What
    company: str
    job: str
    operation: str
    day: int
    number: int


def _now() -> datetime:
    return datetime.now(UTC)


class Usage:
    """Counts locally, adds to Redis every few calls and when asked to `flush`. `clock` says which day a call belongs to; `purpose`: what
    all calls are for, whatever PURPOSE says.
    """

    def __init__(
        self, redis: Redis, company: str, sid: str, *, clock: Callable[[], datetime] = _now, purpose: tuple[str, str] | None = None
    ) -> None:
        self._redis = redis
        self._prefix = f"connect:sage:{company}:usage:"
        self._own = f"connect:{sid}:usage:"
        self.clock = clock
        self._purpose = purpose
        self._pending: Counter[tuple[str, What, str, str, str, str]] = Counter()  # month, what, company, job, operation, day
        self._first_at: datetime | None = None
        self._calls = 0  # since the last flush

    async def note(self, operation: str, *, transactions: int = 1) -> None:
        """One call that was answered; a query is one transaction per page (sage-rest.md d)."""
        self._count(operation, calls=1, transactions=transactions)
        if self._calls >= FLUSH_EVERY:
            await self.flush()

    def unanswered(self, operation: str) -> None:
        """One call that may have arrived, and whose answer has not."""
        self._count(operation, calls=1, unanswered=1)

    def _count(self, operation: str, **numbers: int) -> None:
        at = self.clock().astimezone(UTC)
        company, job = self._purpose or PURPOSE.get()
        for what in WHAT:
            if numbers.get(what):
                self._pending[f"{at:%Y%m}", what, company, job, operation, f"{at:%d}"] += numbers[what]
        self._first_at = self._first_at or at
        self._calls += 1

    async def flush(self) -> None:
        pending, self._pending, self._calls = self._pending, Counter(), 0
        first_at, self._first_at = self._first_at, None
        if not pending or first_at is None:
            return
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(f"{self._own}since", first_at.isoformat(timespec="seconds"), nx=True)
                keys: set[str] = set()
                for (month, what, company, job, operation, day), number in pending.items():
                    calls, transactions, own = f"{self._prefix}{month}", f"{self._prefix}{month}:transactions", f"{self._own}{month}"
                    keys |= {calls, transactions, own}
                    pipe.hincrby(own, f"{what}\n{company}\n{job}\n{operation}\n{day}", number)
                    if what == "calls":
                        pipe.hincrby(calls, operation, number)
                    elif what == "transactions":
                        pipe.hincrby(calls, "transactions", number)
                        pipe.hincrby(transactions, operation, number)
                        pipe.hincrby(own, "transactions", number)
                for key in sorted(keys):
                    pipe.expire(key, KEPT_S)
                await pipe.execute()
        except RedisError:
            self._pending += pending
            self._first_at = min(first_at, self._first_at or first_at)
            raise

    async def month(self, at: datetime | None = None) -> dict[str, int]:
        """The counts of a month, of the whole Sage company."""
        await self.flush()
        raw = await self._redis.hgetall(month_keys(self._prefix, at or self.clock())[0])
        return {name.decode(): int(value) for name, value in raw.items()}

    async def spent(self) -> int:
        """This connection's transactions of this month, as far as they have been added."""
        return int(await self._redis.hget(f"{self._own}{self.clock().astimezone(UTC):%Y%m}", "transactions") or 0)

    def keys(self) -> tuple[str, str]:
        """(calls, transactions) of this month, by operation and object."""
        return month_keys(self._prefix, self.clock())


async def counted_among(
    redis: Redis, sids: Sequence[str], months: Sequence[str]
) -> list[tuple[datetime | None, Mapping[str, Sequence[Counted]]]]:
    """Of several connections, in one exchange: (when the first call was counted, by month (yyyymm) all numbers), as far as they have been
    added.
    """
    async with redis.pipeline(transaction=False) as pipe:
        for sid in sids:
            pipe.get(f"connect:{sid}:usage:since")
            for month in months:
                pipe.hgetall(f"connect:{sid}:usage:{month}")
        answers = iter(await pipe.execute())
    found: list[tuple[datetime | None, Mapping[str, Sequence[Counted]]]] = []
    for _ in sids:
        since = next(answers)
        numbers = {month: _counted(next(answers)) for month in months}
        found.append((None if since is None else datetime.fromisoformat(since.decode()), numbers))
    return found


def _counted(raw: Mapping[bytes, bytes]) -> list[Counted]:
    found = []
    for name, value in raw.items():
        what, *rest = name.decode().split("\n")
        if rest:
            company, job, operation, day = rest
            found.append(Counted(cast("What", what), company, job, operation, int(day), int(value)))
    return found


def month_keys(prefix: str, at: datetime) -> tuple[str, str]:
    month = f"{prefix}{at.astimezone(UTC):%Y%m}"
    return month, f"{month}:transactions"
