"""Files that belong together: killed or failing at any moment, none is of another call's set."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from histomend.errors import OutputError, SettingError
from histomend.image.places import make_folder
from histomend.image.replacing import STAGES, FileSet, settle

sys.path.insert(0, str(Path(__file__).parent))
import killed_writes
from killed_writes import failing, places, versions, write


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill of a process loses nothing that was written; thousands of waits would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_a_kill_at_any_moment_leaves_files_of_one_version(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(Path(killed_writes.__file__)), str(tmp_path)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) == 4
    for case in told:
        for kill in case["kills"]:
            assert kill["versions"] in ([case["before"]], ["new"]), kill
            assert kill["left"] == [], kill
        assert len(case["kills"]) > 20
        assert not case["kills"][-1]["ended"]
        seen = {version for kill in case["kills"] for version in kill["versions"]}
        assert seen == {case["before"], "new"}


@pytest.mark.parametrize("before", ["old", None])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failure_at_any_moment_leaves_what_was_there(
    tmp_path: Path, code: int, before: str | None
) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    refused = 0
    for at in range(1, 200):
        folder = tmp_path / str(at) / "made"
        if before:
            make_folder(folder)
            write(folder, before)
        with failing(at, fail) as count:
            try:
                write(folder, "new")
                done = True
            except OutputError:
                done, refused = False, refused + 1
        reached = count[0] >= at
        assert versions(folder) == {"new" if done else before}, at
        # What could not be removed for a moment goes with the next call.
        if not done and not before:
            assert not any(path.is_file() for path in folder.rglob("*")), at
        settle(folder)
        assert not (folder / STAGES).exists(), at
        if not reached:
            break
    assert refused > 10


def test_an_interruption_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for at in (3, 6, 9, 12, 15, 18):
        with failing(at, interrupt), pytest.raises(KeyboardInterrupt):
            write(tmp_path / "new" / "folder", "new")
        settle(tmp_path / "new" / "folder")
        assert versions(tmp_path / "new" / "folder") == {None}


def test_without_force_the_first_of_two_wins(tmp_path: Path) -> None:
    late = FileSet(force=False)
    for target in places(tmp_path):
        late.place(target).write_text("late")
    write(tmp_path, "first", force=False)
    with pytest.raises(OutputError, match=r"a\.ledger\.json: exists already"):
        late.__exit__(None, None, None)
    assert versions(tmp_path) == {"first"}
    assert not (tmp_path / STAGES).exists()


def test_of_several_writers_at_once_the_files_are_of_one(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [write(tmp_path, f"{n}.{i}") for i in range(8)])  # type: ignore[misc]
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (found,) = versions(tmp_path)
    assert found is not None
    assert found.endswith(".7")
    assert not (tmp_path / STAGES).exists()


def test_where_files_cannot_have_two_names_the_earlier_ones_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    write(tmp_path, "old")
    monkeypatch.setattr(os, "link", no_links)
    real = Path.replace

    def all_but_the_last(path: Path, target: Path) -> Path:
        if target == tmp_path / "a.tif" and path.read_text() == "new":
            raise OSError(errno.EPERM, "Operation not permitted")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", all_but_the_last)
    with pytest.raises(OutputError, match=r"a\.tif: cannot be written"):
        write(tmp_path, "new")
    assert versions(tmp_path) == {"old"}
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"a.mask.png", *(path.name for path in places(tmp_path))}


def test_a_file_put_in_the_place_of_one_that_left_stays(tmp_path: Path) -> None:
    mask = tmp_path / "a.mask.png"
    for at in range(1, 60):
        write(tmp_path, "old")
        killed_writes.killed(at, lambda: write(tmp_path, "new"))
        mask.unlink(missing_ok=True)
        mask.write_text("mine")
        settle(tmp_path)
        assert mask.read_text() == "mine"


def test_messages_name_the_place_and_not_the_folder_of_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError) as caught, FileSet(force=False) as files:
        raise SettingError(f"{files.place(tmp_path / 'new' / 'a.png')}: no")
    assert str(caught.value) == f"{tmp_path / 'new' / 'a.png'}: no"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as caught, FileSet(force=False) as files:
        raise SettingError(f"{[files.place(Path(name)) for name in ('a.json', 'a.png')][1]}: no")
    assert str(caught.value) == "a.png: no"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "journal", ["[", "7", '["../b"]', '["/etc/none", null, "a/../../c"]', "{}"]
)
def test_a_journal_moves_only_what_was_prepared_beside_its_place(
    tmp_path: Path, journal: str
) -> None:
    stage = tmp_path / "in" / STAGES / "token"
    (stage / "new").mkdir(parents=True)
    (stage / "new" / "b").write_text("hostile")
    (stage / "journal.json").write_text(journal)
    (stage / "lead").write_text(json.dumps({"no": "path"}))
    (tmp_path / "b").write_text("mine")
    settle(tmp_path / "in")
    assert (tmp_path / "b").read_text() == "mine"


def test_folders_under_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="the folder cannot be created"):
        make_folder(tmp_path / "file" / "new")
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a", tmp_path / "a" / "b"]
    assert make_folder(tmp_path / "a" / "b") == []
