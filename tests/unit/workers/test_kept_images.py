"""Files of invoices that were just looked at: asked for once, not longer than a minute, not more than fit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from connect.errors import Transient
from connect.prime.documents import Image
from workers.overview.kept_images import KEPT_S, KeptImages


class Prime:
    """Gives one file of so many bytes an invoice, and counts."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.asked: list[str] = []
        self.later: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, what: Callable[[], None]) -> None:
        assert delay_s == KEPT_S
        self.later.append(what)

    def of(self, number: str) -> Callable[[], Awaitable[Sequence[Image]]]:
        async def ask() -> Sequence[Image]:
            self.asked.append(number)
            await asyncio.sleep(0)
            return [Image(f"{number}.pdf", "PDF", b"x" * self.size)]

        return ask


async def look(kept: KeptImages, prime: Prime, *numbers: str, sid: str = "s") -> None:
    for number in numbers:
        (image,) = await kept.of((sid, "1", number), prime.of(number))
        assert image.name == f"{number}.pdf"


async def test_prime_is_asked_once_until_the_minute_is_over():
    prime = Prime()
    kept = KeptImages(later=prime.call_later)
    await look(kept, prime, "1", "1", "1")
    assert prime.asked == ["1"]
    prime.later.pop()()
    assert kept.size_bytes == 0
    await look(kept, prime, "1")
    assert prime.asked == ["1", "1"]


async def test_a_page_that_asks_for_several_at_once_asks_prime_once():
    prime = Prime()
    kept = KeptImages(later=prime.call_later)
    await asyncio.gather(*(look(kept, prime, number) for number in ("1", "1", "2", "1")))
    assert sorted(prime.asked) == ["1", "2"]


async def test_the_same_number_of_another_connection_is_another_invoice():
    prime = Prime()
    kept = KeptImages(later=prime.call_later)
    await look(kept, prime, "1", sid="a")
    await look(kept, prime, "1", sid="b")
    assert prime.asked == ["1", "1"]


async def test_no_more_is_kept_than_fits_and_the_oldest_go_first():
    prime = Prime(10)
    kept = KeptImages(most_bytes=25, later=prime.call_later)
    await look(kept, prime, "1", "2", "3")
    assert kept.size_bytes == 20
    await look(kept, prime, "2", "3", "1")
    assert prime.asked == ["1", "2", "3", "1"]
    for drop in prime.later:  # "1" was let go and came again: its first minute is not its second one's
        drop()
    assert kept.size_bytes == 0


async def test_what_is_larger_than_all_that_is_kept_drives_nothing_out():
    small, large = Prime(10), Prime(26)
    kept = KeptImages(most_bytes=25, later=small.call_later)
    await look(kept, small, "1")
    await look(kept, large, "2", "2")
    assert large.asked == ["2", "2"]
    await look(kept, small, "1")
    assert small.asked == ["1"]


async def test_the_first_drop_of_what_came_again_leaves_it_its_minute():
    prime = Prime(10)
    kept = KeptImages(most_bytes=10, later=prime.call_later)
    await look(kept, prime, "1", "2", "1")
    prime.later[0]()
    await look(kept, prime, "1")
    assert prime.asked == ["1", "2", "1"]


async def test_a_refusal_is_not_kept():
    prime = Prime()
    kept = KeptImages(later=prime.call_later)

    async def away() -> Sequence[Image]:
        raise Transient("Prime is away", system="prime")

    with pytest.raises(Transient):
        await kept.of(("s", "1", "1"), away)
    await look(kept, prime, "1")
    assert prime.asked == ["1"]
