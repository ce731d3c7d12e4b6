"""`connect sent`: what is known of a row that Prime has, by its number."""

from __future__ import annotations

from pathlib import Path

from world import Connect, Sandbox, config_text


def test_a_row_that_prime_has_is_found_by_its_number_and_one_that_it_has_not_is_said(tmp_path: Path, valkey: str) -> None:
    with Sandbox("--empty") as box:
        box.load("accounts-payable/vendor", [{"id": "V1", "name": "One"}, {"id": "V2", "name": "too long " * 60}])
        connect = Connect(tmp_path, config_text(box, jobs=("GetSuppliers",), redis_url=valkey))
        connect.sync(expect=(3,))
        (row,) = connect.json("sent", "V1", "--job", "GetSuppliers")["rows"]
        assert (row["connection"], row["company"], row["part"], row["name"], row["is_settled"]) == (
            "acme-TEST",
            "100",
            "Supplier",
            "One",
            True,
        )
        assert connect.json("sent", "V2", "--job", "GetSuppliers")["rows"] == [], "it was refused: it is a dead letter"
        assert "V1" in connect.run("sent", "V1", "--job", "GetSuppliers", "--company", "100")
        connect.run("sent", "V1", "--job", "GetNothing", expect=(2,))
