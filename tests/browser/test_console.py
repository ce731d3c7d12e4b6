"""The console as people meet it: in a browser, by mouse, by keyboard, without JavaScript, on a telephone, in the dark.

CONNECT_SCREENSHOTS=deploy/screenshots makes the README's pictures anew.
"""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from browser_desk import HELD, Desk

from workers import acts
from workers.console.routes import TABLE

pytestmark = pytest.mark.timeout(300)
WIDTHS: Final = (360, 768, 1280, 1600)
PICTURE_KB: Final = 150
# GET routes that are no pages, with the reason. What is neither here nor opened by a test below fails it.
NO_PAGES: Final = {
    "/events": "a stream",
    "/static/{digest}/{name}": "files of every page",
    "/audit/export": "a download",
    "/dead-letters/{id}/files/{place}": "a document's own file",
    "/metrics": "for machines",
    "/healthz": "for machines",
    "/readyz": "for machines",
}
PAGES: Final = sorted(
    route.path for route in TABLE if route.method == "GET" and not route.path.startswith("/api/") and route.path not in NO_PAGES
)
FOR_ADMINS: Final = {route.path for route in TABLE if route.role == "admin"}
# The same pages as people also see them.
VARIANTS: Final = (
    "/?light=red", "/?name=nothing-like-this", "/dead-letters?state=resolved", "/dead-letters?text=nothing-like-this",
    "/dead-letters?kind=Payment", "/documents?number=1-7404", "/documents?number=1-7100", "/documents?number=nothing-like-this",
    "/runs?connection=acme-PROD&minutes=60", "/connections/nordic-PROD", "/no/such/page", "/dead-letters/{payment}", "/dead-letters/{evil}",
)  # fmt: skip
HELD_BY_MOUSE, HELD_BY_KEYS, HELD_WITHOUT_SCRIPT, HELD_TO_LOOK_AT, HELD_FOR_ITS_STORY = HELD


class Watched:
    """A page, and what must not happen on it: errors in its console (violations of its policy are among them), dialogs, failures."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.clicks = 0
        page.on("console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("response", lambda answer: self.wrong.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def click(self, *where: Any, **options: Any) -> None:
        """One click of the mouse, counted."""
        self.clicks += 1
        target = self.page.get_by_role(*where, **options) if isinstance(where[0], str) else where[0]
        target.first.click()


@contextmanager
def person(browser: Any, served: Desk, role: str, **options: Any) -> Iterator[Watched]:
    """Somebody of this role with a window of their own."""
    context = browser.new_context(base_url=served.url, viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(60_000)
    if role:
        context.add_cookies([served.cookie(role)])
    watched = Watched(context.new_page())
    try:
        yield watched
        assert watched.wrong == []
    finally:
        context.close()


@pytest.fixture(scope="module")
def axe(browser: Any) -> str:
    """axe-core itself."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def planted(served: Desk) -> Desk:
    served.plant()
    return served


@pytest.fixture(scope="module")
def admin(browser: Any, served: Desk) -> Iterator[Watched]:
    """One window for all the pages that are only looked at."""
    with person(browser, served, "admin") as watched:
        yield watched


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif("CONNECT_SCREENSHOTS" not in os.environ, reason="CONNECT_SCREENSHOTS=FOLDER makes the README's pictures")
def test_pictures_of_the_main_pages_are_made(browser: Any, served: Desk) -> None:
    folder = Path(os.environ["CONNECT_SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    letter = f"/dead-letters/{served.letter_id(HELD_TO_LOOK_AT)}"
    for name, path, scheme, height in (
        ("overview", "/", "light", 1100), ("overview-dark", "/", "dark", 1100), ("dead-letters", "/dead-letters", "light", 900),
        ("letter", letter, "light", 1250),
    ):  # fmt: skip
        save_picture(browser, served, folder / f"{name}.png", path, scheme, height)
    release(served)
    mended, change = served.letter_id(HELD_FOR_ITS_STORY), {"lines[0].account": "6000"}
    served.do(acts.edit(served.tools, mended, change, reason="account 6999 was closed in February", by="operator"))
    served.do(acts.replay(served.tools, ids=[mended], by="operator"))
    served.state(HELD_FOR_ITS_STORY, "resolved")
    save_picture(browser, served, folder / "document.png", f"/documents?number=1-{HELD_FOR_ITS_STORY}", "light", 700)


def save_picture(browser: Any, served: Desk, file: Path, path: str, scheme: str, height: int) -> None:
    with person(browser, served, "operator", color_scheme=scheme) as watched:
        watched.page.set_viewport_size({"width": 1280, "height": height})
        watched.page.goto(path)
        watched.page.wait_for_timeout(1500)  # the file is drawn by the browser's own viewer
        picture = small(browser, watched.page.screenshot())
        assert len(picture) <= PICTURE_KB * 1000, f"{file.name}: {len(picture):,} bytes"
        file.write_bytes(picture)


def small(browser: Any, picture: bytes) -> bytes:
    """The same PNG with a palette: its 256 most frequent colours; each other becomes the nearest of them."""
    page = browser.new_page()
    try:
        width, height, colours, pixels = page.evaluate(
            """async (source) => {
                const image = new Image();
                image.src = source;
                await image.decode();
                const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d");
                pen.drawImage(image, 0, 0);
                const found = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer), seen = new Map();
                for (const one of found) seen.set(one, (seen.get(one) || 0) + 1);
                const most = [...seen].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([one]) => one);
                const parts = (one) => [one & 255, one >> 8 & 255, one >> 16 & 255];
                const far = (a, b) => a.reduce((sum, part, n) => sum + (part - b[n]) ** 2, 0);
                const palette = most.map(parts), near = new Map(most.map((one, n) => [one, n]));
                for (const one of seen.keys()) if (!near.has(one)) {
                    const mine = parts(one);
                    near.set(one, palette.reduce((best, other, n) => far(mine, other) < far(mine, palette[best]) ? n : best, 0));
                }
                const text = Array.from(found, (one) => String.fromCharCode(near.get(one)));
                return [image.width, image.height, palette.flat(), btoa(text.join(""))];
            }""",
            f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        )
    finally:
        page.close()
    rows = base64.b64decode(pixels)
    lines = b"".join(b"\0" + rows[at : at + width] for at in range(0, width * height, width))
    pieces = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(colours)),
        (b"IDAT", zlib.compress(lines, 9)),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in (*pieces, (b"IEND", b""))
    )


# -- one page, looked at from all sides --------------------------------------------------------------------------------


def wide(page: Any) -> list[str]:
    """What makes the page wider than the window; empty when nothing does."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("[tabindex]:not(main)"))
            .slice(0, 5).map((one) => `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 40)}`).concat("too wide")"""
    )
    return found


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds on the page as it stands."""
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations'], iframes: false})).violations")
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"][:3]]


def assert_sound(page: Any, axe: str) -> None:
    """Light and dark, narrow and wide: nothing runs out of the window, and everybody can use it."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert wide(page) == [], f"{page.url} at {width}"
    page.emulate_media(color_scheme="dark")
    assert violations(page, axe) == [], f"{page.url}, dark"
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.emulate_media(color_scheme="light")
    assert violations(page, axe) == [], f"{page.url}, light and narrow"


def test_what_is_wrong_with_a_page_is_seen(browser: Any, axe: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 900})
    page.set_content("<main><p><b>x</b></p><input style='outline: none'><i>y</i></main>")
    assert any(one.startswith("label:") for one in violations(page, axe))
    assert wide(page) == []
    with pytest.raises(AssertionError, match="not to be seen on <input"):
        Keys(page).to(page.locator("i"))
    page.set_content(f"<main><p>{'W' * 500}</p></main>")
    assert wide(page) != []
    page.close()


def filled(served: Desk, path: str) -> str:
    """A route's path with what there is in place of its {names}."""
    held = served.letter_id(HELD_TO_LOOK_AT)
    names = {
        "id": held, "run": served.do(served.connection.runs.history(limit=1))[0].run, "name": "acme-PROD", "payment": served.payment,
    }  # fmt: skip
    if "{evil}" in path:  # planted beside the others for some tests alone
        names["evil"] = served.do(served.connection.dead_letters.find({"number": "javascript:alert(3)"}))[1][0].id
    return path.format(**names)  # a KeyError: say here what stands for that name


@pytest.mark.parametrize("path", [*PAGES, *VARIANTS])
def test_a_page_is_sound_in_light_and_dark_on_every_width(admin: Watched, planted: Desk, axe: str, path: str) -> None:
    address = filled(planted, path)
    answer = admin.page.goto(address)
    assert answer.status == (404 if path == "/no/such/page" else 200), path
    assert "text/html" in answer.headers["content-type"], f"{path} is no page: say so in NO_PAGES"
    if path == "/no/such/page":  # the browser says itself that it is not there
        admin.wrong = [one for one in admin.wrong if "404" not in one]
    assert_sound(admin.page, axe)
    admin.page.emulate_media(color_scheme="dark")
    assert admin.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    admin.page.emulate_media(color_scheme="light")
    assert admin.wrong == [], path


def test_what_is_no_page_is_none(browser: Any, served: Desk) -> None:
    with person(browser, served, "admin") as watched:
        for path in ("/metrics", "/healthz", "/readyz", "/audit/export"):
            answer = watched.page.request.get(path)
            assert "text/html" not in answer.headers["content-type"], path
        file = watched.page.request.get(f"/dead-letters/{served.letter_id(HELD_TO_LOOK_AT)}/files/0")
        assert (file.headers["content-type"], file.body()[:5]) == ("application/pdf", b"%PDF-")


def test_the_login_page_is_sound_and_lets_people_in(browser: Any, served: Desk, axe: str) -> None:
    password = "a morning in Gothenburg"
    served.do(served.users.add("ann", password, "operator"))
    with person(browser, served, "") as watched:
        page = watched.page
        page.goto("/dead-letters?kind=Payment")
        assert "/login" in page.url
        assert_sound(page, axe)
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/dead-letters?kind=Payment")


def test_a_theme_once_chosen_stays(browser: Any, served: Desk, axe: str) -> None:
    with person(browser, served, "viewer") as watched:
        page = watched.page
        page.goto("/")
        page.locator("details.menu summary").click()
        page.get_by_role("button", name="Dark").click()
        page.wait_for_selector("html[data-theme=dark]")
        page.goto("/dead-letters")
        page.locator("details.menu summary").click()
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
        assert violations(page, axe) == []


# -- the morning's work ------------------------------------------------------------------------------------------------


def release(served: Desk) -> None:
    """The Sage administrator lifts the hold of the supplier."""
    served.box.load("accounts-payable/vendor", [{"id": "V2", "name": "Harbour Freight & Storage Ltd", "isOnHold": False}], mode="upsert")


def assert_booked(served: Desk, number: int) -> None:
    assert served.bill(number)["lines"][0]["glAccount"]["id"] == "6000"
    served.state(number, "resolved")


def test_from_the_overview_to_an_edited_and_replayed_invoice_in_at_most_six_clicks(browser: Any, served: Desk, axe: str) -> None:
    release(served)
    with person(browser, served, "operator") as watched:
        page = watched.page
        page.goto("/")
        watched.click("link", name="Dead letters", exact=True)
        watched.click("link", name="Supplier V2 is on hold in Sage")
        watched.click("link", name=f"Invoice 1-{HELD_BY_MOUSE}")
        watched.click(page.locator("[name='set.lines[0].account']"))
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("6000")
        watched.click("button", name="Show what would change")
        page.wait_for_selector("del")
        assert [page.locator("del").inner_text(), page.locator("ins").inner_text()] == ["6999", "6000"]
        assert_sound(page, axe)
        assert page.evaluate("document.activeElement.name") == "reason"
        page.keyboard.type("6999 was closed")
        watched.click("button", name="Save and send again")
        page.get_by_text("Saved and sent again.").wait_for()
        assert watched.clicks <= 6
    assert_booked(served, HELD_BY_MOUSE)


class Keys:
    """Somebody without a mouse. Whatever has the focus must be seen to have it."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def to(self, target: Any, most: int = 150) -> None:
        """Tab until the focus is there."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            wanted = target.first.element_handle()  # anew each time: an open page that follows what happens replaces its parts
            here = self.page.evaluate(
                """(wanted) => {
                    const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
                    const seen = one.tagName === "IFRAME" || one === document.body
                        || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
                    return {is: one === wanted, seen: seen && (box.width > 0 || one === document.body), what: one.outerHTML.slice(0, 120)};
                }""",
                wanted,
            )
            assert here["seen"], f"the focus is not to be seen on {here['what']}"
            if here["is"]:
                return
        raise AssertionError(f"{target} is not reached by {most} tabs")

    def open(self, target: Any) -> None:
        self.to(target)
        self.page.keyboard.press("Enter")


def test_an_invoice_is_changed_and_sent_again_by_keyboard_alone(browser: Any, served: Desk) -> None:
    release(served)
    with person(browser, served, "operator") as watched:
        page, keys = watched.page, Keys(watched.page)
        page.goto("/")
        keys.open(page.get_by_role("link", name="Dead letters", exact=True))
        page.wait_for_url("**/dead-letters")
        keys.open(page.get_by_role("link", name="Supplier V2 is on hold in Sage"))
        page.wait_for_url("**group=**")
        keys.open(page.get_by_role("link", name=f"Invoice 1-{HELD_BY_KEYS}"))
        page.wait_for_url(f"**/dead-letters/{served.letter_id(HELD_BY_KEYS)}")
        keys.to(page.locator("[name='set.lines[0].account']"))
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("6000")
        page.keyboard.press("Escape")  # the list of known accounts
        keys.open(page.get_by_role("button", name="Show what would change"))
        page.wait_for_selector("del")
        page.keyboard.type("6999 was closed")
        keys.open(page.get_by_role("button", name="Save and send again"))
        page.get_by_text("Saved and sent again.").wait_for()
    assert_booked(served, HELD_BY_KEYS)


def test_reading_and_sending_again_work_without_javascript(browser: Any, served: Desk) -> None:
    release(served)
    with person(browser, served, "operator", java_script_enabled=False) as watched:
        page = watched.page
        for path in PAGES:
            if path not in FOR_ADMINS and path != "/login":
                assert page.goto(filled(served, path)).status == 200, path
                assert page.get_by_role("heading", level=1).count() == 1, path
        page.goto("/")
        page.get_by_role("link", name="Dead letters", exact=True).click()
        page.get_by_role("link", name="Supplier V2 is on hold in Sage").click()
        page.get_by_role("link", name=f"Invoice 1-{HELD_WITHOUT_SCRIPT}").click()
        page.locator("[name='set.lines[0].account']").fill("6000")
        page.get_by_role("button", name="Show what would change").click()
        page.get_by_label("Why").fill("6999 was closed")
        page.get_by_role("button", name="Save", exact=True).click()
        page.locator("summary", has_text="Send again").click()
        page.get_by_role("button", name="Send again").click()
        assert page.get_by_role("status").count() == 1
    assert_booked(served, HELD_WITHOUT_SCRIPT)


def test_an_open_page_follows_what_happens(browser: Any, served: Desk) -> None:
    with person(browser, served, "operator") as watched:
        page = watched.page
        page.goto("/runs")
        page.get_by_text("Live.").wait_for()
        form = page.locator("#pause form")
        form.locator("[name=connection]").select_option("harbour-PROD")
        form.locator("[name=reason]").fill("they move house")
        with person(browser, served, "admin") as other:
            other.page.goto("/runs")
            other.page.get_by_text("Live.").wait_for()
            form.get_by_role("button", name="Pause").click()
            other.page.locator("#paused").get_by_text("they move house").wait_for()
        page.get_by_role("button", name="Resume everything of harbour-PROD").click()
        page.locator("#paused").get_by_text("they move house").wait_for(state="detached")


def test_hostile_names_are_text_and_nothing_else(browser: Any, planted: Desk) -> None:
    with person(browser, planted, "admin") as watched:
        page = watched.page
        evil = filled(planted, "/dead-letters/{evil}")
        for path in (
            "/",
            "/dead-letters",
            "/dead-letters?text=script",
            evil,
            f"/documents?number={quote('javascript:alert(3)')}",
            "/audit",
        ):
            page.goto(path)
            assert page.evaluate("document.querySelectorAll('main img, main script, main svg[onload], [onerror]').length") == 0, path
            assert "taken" not in page.title(), path
            assert page.evaluate("[...document.links].every((one) => one.protocol === 'http:')"), path
        page.goto(evil)
        assert page.get_by_text("<script>document.title='taken'</script>").count() > 0
        assert "49" not in page.get_by_role("heading", level=1).inner_text()  # {{7*7}}
