"""Files of Prime's are saved within the folder that was named, and nothing is written over."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from connect.errors import ConfigError
from connect.prime.documents import Image
from workers.cli_letters import _save, file_name


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("invoice.pdf", "3-invoice.pdf"),
        ("Räkning nr 7.pdf", "3-Räkning nr 7.pdf"),
        ("../../etc/passwd", "3-passwd"),
        ("C:\\Windows\\..\\evil.exe", "3-evil.exe"),
        ("/", "3-file"),
        ("", "3-file"),
        ("..", "3-file"),
        (".bashrc", "3-bashrc"),
        ("-rf", "3--rf"),
        ("a\nb\x1b[2J\u202e.pdf", "3-a_b_[2J_.pdf"),
        ("CON:stream|x.pdf", "3-CON_stream_x.pdf"),
        ("x" * 500 + ".pdf", "3-" + "x" * 56 + ".pdf"),
        ("x." + "y" * 500, "3-x." + "y" * 58),
    ],
)
def test_a_file_is_called_so_that_it_stays_in_its_folder(name: str, saved: str):
    assert file_name(3, name) == saved
    assert len(("\N{PILE OF POO}" * 500 + "." + name).encode()) > 255
    assert len(file_name(999, "\N{PILE OF POO}" * 500 + "." + name).encode()) <= 255


def test_files_of_one_name_are_both_saved_and_their_owner_alone_reads_them(tmp_path: Path):
    paths = _save([Image("page.pdf", "PDF", b"one"), Image("page.pdf", "PDF", b"two")], tmp_path / "new" / "folder")
    assert [(path.name, path.read_bytes()) for path in paths] == [("0-page.pdf", b"one"), ("1-page.pdf", b"two")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_there_stays_as_it_is_and_nothing_else_is_written(tmp_path: Path, is_link: bool):
    there, elsewhere = tmp_path / "1-b.pdf", tmp_path / "elsewhere"
    if is_link:
        there.symlink_to(elsewhere)
    else:
        there.write_text("mine")
    with pytest.raises(ConfigError, match=r"1-b\.pdf is there already"):
        _save([Image("a.pdf", "PDF", b"one"), Image("b.pdf", "PDF", b"two")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1-b.pdf"]
    assert is_link or there.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written: Not a directory"):
        _save([Image("a.pdf", "PDF", b"one")], tmp_path / "file" / "below")
