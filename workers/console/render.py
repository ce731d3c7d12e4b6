"""Templates and static files. Everything is escaped unless a template says otherwise; there is no inline script or style anywhere."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
import orjson

HERE: Final = Path(__file__).parent
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


class StaticFile(NamedTuple):
    """A file as it is sent. `url` holds a hash of its content, so it may be kept for ever."""

    body: bytes
    content_type: str
    digest: str
    url: str


def static_files() -> dict[str, StaticFile]:
    """All of them, in memory: a path that is not among them does not exist, whatever dots it has."""
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:16]
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        found[path.name] = StaticFile(body, content_type, digest, f"/static/{digest}/{path.name}")
    return found


def environment(files: dict[str, StaticFile], clock: Callable[[], datetime]) -> jinja2.Environment:
    """The templates with the filters of console/__init__.py."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.globals["static"] = lambda name: files[name].url
    env.globals["sparkline"] = sparkline
    env.filters |= {
        "number": number,
        "at": at,
        "ago": lambda value: ago(value, clock()),
        "duration": duration,
        "pretty": pretty,
    }
    return env


def number(value: Any) -> str:
    """12345 as 12,345; a dash for nothing."""
    if value is None or value == "":
        return "–"
    return f"{value:,}" if isinstance(value, int | float | Decimal) else str(value)


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else None


def at(value: Any) -> str:
    """An instant as people read it, in UTC."""
    found = _instant(value)
    return "–" if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(value: Any, now: datetime) -> str:
    """How long since."""
    found = _instant(value)
    if found is None:
        return "never"
    seconds = (now - found.astimezone(UTC)).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def duration(seconds: Any) -> str:
    """Seconds in the largest unit that fits, with one more: 2 h 5 min."""
    if not isinstance(seconds, int | float) or seconds != seconds:  # noqa: PLR0124 - not a number
        return "–"
    left = round(seconds)
    for place, (size, unit) in enumerate(_UNITS):
        if left >= size:
            rest = left % size
            below, name = _UNITS[place + 1] if place + 1 < len(_UNITS) else (1, "s")
            more = rest // below
            return f"{left // size} {unit}" + (f" {more} {name}" if more else "")
    return f"{left} s"


def pretty(value: Any) -> str:
    """JSON for a person to read."""
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def sparkline(values: Sequence[float], width: int = 120, height: int = 28) -> dict[str, Any]:
    """The corners of a small chart: `line` for a polyline, `area` for what is below it."""
    if not values:
        return {"line": "", "area": "", "width": width, "height": height, "most": 0, "last": 0}
    most = max(*values, 1) if len(values) > 1 else max(values[0], 1)
    step = width / max(1, len(values) - 1)
    corners = [f"{place * step:.1f},{height - 1 - (height - 2) * value / most:.1f}" for place, value in enumerate(values)]
    if len(corners) == 1:
        corners.append(f"{width},{corners[0].partition(',')[2]}")
    line = " ".join(corners)
    return {"line": line, "area": f"0,{height} {line} {width},{height}", "width": width, "height": height, "most": most, "last": values[-1]}
