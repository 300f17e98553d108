"""Files that belong together: killed or failing at any moment, none is of another call's set."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from histomend.errors import OutputError, SettingError
from histomend.image.replacing import STAGES, FileSet, make_folder, settle, write_atomically

# Every way in which the disk is touched.
STEPS = (
    (Path, "open"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (Path, "rmdir"),
    (os, "link"), (os, "fsync"), (os, "open"), (os, "unlink"), (os, "rmdir"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill of a process loses nothing that was written; thousands of waits would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def write(folder: Path, version: str, *, force: bool = True, map_in: Path | None = None) -> None:
    """Write three files that say of which version they are."""
    with FileSet(force=force) as files:
        for target in places(folder, map_in):
            write_atomically(files.place(target), lambda file: file.write(version.encode()))  # type: ignore[arg-type,return-value]


def places(folder: Path, map_in: Path | None = None) -> tuple[Path, ...]:
    return folder / "a.ledger.json", (map_in or folder) / "a.t-map.tif", folder / "a.tif"


def versions(folder: Path, map_in: Path | None = None) -> set[str | None]:
    return {path.read_text() if path.exists() else None for path in places(folder, map_in)}


@contextmanager
def failing(at: int, how: Callable[[], Any]) -> Iterator[list[int]]:
    """Do `how` in place of the n-th touch of the disk; give how many there were."""
    count = [0]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            real = getattr(owner, name)

            def step(*words: Any, _real: Any = real, **options: Any) -> Any:
                count[0] += 1
                if count[0] == at:
                    how()
                return _real(*words, **options)

            patch.setattr(owner, name, step)
        yield count


def killed(at: int, work: Callable[[], None]) -> bool:
    """Do some work in a process that ends at the n-th touch of the disk; return whether it did."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        with failing(at, lambda: os._exit(9)):
            work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("before", ["old", None])
def test_a_kill_at_any_moment_leaves_files_of_one_version(
    tmp_path: Path, before: str | None, elsewhere: bool
) -> None:
    seen = set()
    for at in range(1, 200):
        folder = tmp_path / str(at)
        folder.mkdir()
        map_in = folder / "maps" if elsewhere else None
        if elsewhere:
            (folder / "maps").mkdir()
        if before:
            write(folder, before, map_in=map_in)
        ended = killed(at, lambda f=folder, m=map_in: write(f, "new", map_in=m))  # type: ignore[misc]
        # The one who comes next may look at the map first, or at the record.
        settle(folder / "maps" if elsewhere and at % 2 else folder)
        found = versions(folder, map_in)
        assert found in ({before}, {"new"}), (at, found)
        seen |= found
        settle(folder)
        if elsewhere:
            settle(folder / "maps")
        left = [path for path in folder.rglob("*") if path.name.startswith(".")]
        assert left == [], at
        if not ended:
            break
    assert not ended
    assert at > 20
    assert seen == {before, "new"}


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
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in places(tmp_path)}


def test_messages_name_the_place_and_not_the_folder_of_preparation(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught, FileSet(force=False) as files:
        raise SettingError(f"{files.place(tmp_path / 'new' / 'a.png')}: no")
    assert str(caught.value) == f"{tmp_path / 'new' / 'a.png'}: no"
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
