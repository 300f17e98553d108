"""A desk with a damaged image, what was made of it, and a page that is served."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

pytest.importorskip("fastapi")

import uvicorn
from fastapi.testclient import TestClient

from histomend.api import restore
from histomend.image import write_image
from histomend.masks import write_mask
from histomend.web.desk import Desk
from histomend.web.guard import Guard
from histomend.web.server import view_app
from histomend.web.work import Bench

TOKEN = "a-token-of-the-tests"  # noqa: S105
BASE = f"http://127.0.0.1/{TOKEN}/"


@pytest.fixture(scope="session")
def restored(tissue: np.ndarray, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tissue.png, restored.png made of it, and the mask."""
    folder = tmp_path_factory.mktemp("restored")
    image = np.ascontiguousarray(tissue[:200, :260])
    mask = np.zeros(image.shape[:2], bool)
    mask[40:80, 50:110] = True
    mask[150:160, 200:210] = True
    write_image(folder / "tissue.png", image, mpp=0.5)
    write_mask(folder / "mask.png", mask)
    result = restore(
        folder / "tissue.png", mask, model=untrained, preset="generate", samples=2, seed=0
    )
    result.save(folder / "restored.png")
    return folder


@pytest.fixture
def folder(restored: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, to write to."""
    return Path(shutil.copytree(restored, tmp_path / "images"))


@pytest.fixture
def bench(folder: Path, untrained: Path) -> Bench:
    """Return the desk with both images, and where its jobs are done."""
    desk = Desk([folder / "tissue.png", folder / "restored.png"])
    return Bench(desk, folder / "out", {"untrained": untrained}, "cpu")


@pytest.fixture
def client(bench: Bench) -> Iterator[TestClient]:
    """Return a client of the page whose queue is working."""
    with TestClient(Guard(view_app(bench), TOKEN), base_url=BASE) as found:
        yield found


def write_slide(path: Path, pixels: np.ndarray) -> Path:
    """Write a small slide in tiles, with two levels."""
    height, width = pixels.shape[:2]
    about = f"Aperio Image Library v11.2.1\r\n{width}x{height}|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as file:
        for step in (1, 4):
            values = np.ascontiguousarray(pixels[::step, ::step])
            file.write(
                values, tile=(256, 256), photometric="rgb", compression="jpeg", description=about,
                metadata=None,
            )  # fmt: skip
    return path


@pytest.fixture
def slide(tmp_path: Path, tissue: np.ndarray) -> Path:
    """Return a slide of 1024×1024 px."""
    return write_slide(tmp_path / "scan.svs", np.tile(tissue, (2, 2, 1)))


@pytest.fixture
def small_slide(tmp_path: Path, tissue: np.ndarray) -> Path:
    """Return a slide of 320×320 px."""
    return write_slide(tmp_path / "small.svs", tissue[:320, :320])


@pytest.fixture
def long_slide(tmp_path: Path, tissue: np.ndarray) -> Path:
    """Return a slide of 512×2560 px, of which parts far from each other are worked on in turn."""
    return write_slide(tmp_path / "long.svs", np.tile(tissue, (5, 1, 1)))


@dataclass
class Served:
    """A page that is served as people get it."""

    address: str
    bench: Bench


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application on a port of this machine while the block runs."""
    config = uvicorn.Config(Guard(app, TOKEN), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(name="serving")
def serving_fixture() -> Any:
    """Return `serving`."""
    return serving


@pytest.fixture
def served(bench: Bench) -> Iterator[Served]:
    """Serve the page as people get it."""
    with serving(view_app(bench)) as address:
        yield Served(address, bench)
