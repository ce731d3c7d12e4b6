"""Reading single fields of raw rows."""

from __future__ import annotations

from workers.pages import values_reader


def test_values_come_as_text_and_nothing_as_nothing() -> None:
    rows = [b'{"key":"1","term.key":"7","n":5}', b'{"key":"2","term.key":null}', b'{"key":"3"}']
    assert values_reader(["term.key", "n"])(rows) == [("7", "5"), ("", ""), ("", "")]


def test_a_row_that_cannot_be_read_has_no_values_and_the_others_have() -> None:
    assert values_reader(["a"])([b'{"a":[1]}', b"rubbish", b'{"a":"x"}']) == [("",), ("",), ("x",)]


def test_without_fields_each_row_has_an_empty_tuple() -> None:
    assert values_reader([])([b"{}", b"{}"]) == [(), ()]
