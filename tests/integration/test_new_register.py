"""A register more is one file: here one for a made-up Sage object, through the whole pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import SECRETS, Sandbox, config_text

from connect.config import load_config
from connect.registers import REGISTERS, find_registers
from workers.screen import Screen
from workers.session import run_jobs, session

THE_FILE = '''
"""Cost groups: a made-up Sage object, delivered to Prime as objects of type 7."""

from connect.mapping import Code, Entity, EntityMapping, FieldMap, Part, Row, Source, Title, framed
from connect.registers.register import Register


class CostGroup(Entity):
    number: Code
    name: Title | None
    object_type: int = 7


MAPPING = EntityMapping(
    model=CostGroup,
    source="platform-apps/nsp::cost_group",
    fields=framed(
        FieldMap("object_type", "", "ObjectTypeNo", "objectTypeNumber"),
        FieldMap("number", "{number}", "Object", "object"),
        FieldMap("name", "name", "Name", "name"),
    ),
)


def parts(settings):
    mapper = MAPPING.compile(settings)

    def transform(raw, _joined, _extra):
        group = mapper.decode(raw)
        return Row(natural=f"7/{group.number}", number=group.number, name=group.name or "", body=mapper.encode(group))

    return [Part(id="CostGroup", kind="Object", source=Source(MAPPING.source, mapper.paths), version=mapper.version, transform=transform)]


REGISTER = Register(job="GetCostGroups", parts=parts)
'''


async def test_a_new_register_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "more_registers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cost_groups.py").write_text(THE_FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    found = find_registers([str(package)], "more_registers")
    assert list(found) == ["GetCostGroups"]
    monkeypatch.setitem(REGISTERS, "GetCostGroups", found["GetCostGroups"])
    with Sandbox("--empty") as box:
        records = [{"id": f"G{n}", "name": f"Group {n}"} for n in range(1, 8)]
        box.load("platform-apps/nsp::cost_group", records)
        (tmp_path / "connect.toml").write_text(config_text(box, jobs=("GetCostGroups",)))
        async with session(load_config(tmp_path / "connect.toml", jobs=REGISTERS)) as tools:
            outcome = await run_jobs(tools, Screen(json=True))
        assert outcome.exit_code == 0, outcome.document()
        assert [(record["Object"], record["Name"], record["ObjectTypeNo"]) for record in box.prime_records("Object")] == [
            (f"G{n}", f"Group {n}", 7) for n in range(1, 8)
        ]
