"""What every test runs under: one thread, fixed seeds, no network, no window."""

from __future__ import annotations

import os
import random
import socket
import sys
from pathlib import Path

# Before any library is imported: they read these once. One thread per process, because a second
# one makes PyTorch many times slower when several test processes share the processors.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import numpy as np
import pytest
from PIL import Image

from occ_order import scenes

hypothesis.settings.register_profile("occ_order", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("occ_order")

COCOA_DEMO = "OCC_ORDER_COCOA_DEMO"
PHOTOS = "OCC_ORDER_PHOTOS"
LOOPBACK = {"localhost", "::1", "", None}


class NetworkBlocked(RuntimeError):
    """A test reached for the network; not an OSError, so that no code mistakes it for bad luck."""


def _refuse_remote(host: object) -> None:
    if isinstance(host, bytes):
        host = host.decode()
    if host not in LOOPBACK and not str(host).startswith("127."):
        raise NetworkBlocked(f"tests must not use the network; tried to reach {host!r}")


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Connections and look-ups outside this machine raise, in this process."""
    patch = pytest.MonkeyPatch()
    real_lookup = socket.getaddrinfo

    def guarded(real):
        def connect(self, address):
            if self.family != getattr(socket, "AF_UNIX", None):
                _refuse_remote(address[0])
            return real(self, address)

        return connect

    def lookup(host, *args, **kwargs):
        if host != socket.gethostname():
            _refuse_remote(host)
        return real_lookup(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    patch.setattr(socket, "getaddrinfo", lookup)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _same_start():
    """Every test starts from the same random state; PyTorch only if something imported it."""
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


def _folder_of(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set: no folder of annotated photographs")
    path = Path(folder).absolute()
    if not path.is_dir():
        pytest.fail(f"{variable}={folder}: no such folder")
    return path


@pytest.fixture(scope="session")
def cocoa_demo() -> Path:
    """Folder of five photographs with human COCOA annotation; skips where none is named."""
    return _folder_of(COCOA_DEMO)


@pytest.fixture(scope="session")
def photos() -> Path:
    """Folder of photographs with measured order, by source; skips where none is named."""
    return _folder_of(PHOTOS)


def small_records(folder: Path, count: int = 2, *, size: tuple[int, int] = (64, 80)) -> list[dict]:
    """Records of generated scenes, their images in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(1, count + 1):
        scene = scenes.generate(40 + number, size=size, num_instances=(3, 5))
        path = folder / f"image {number}.png"
        Image.fromarray(scene.image).save(path)
        record = scenes.to_record(scene, image_id=number, file_name=str(path), front_to_back=True)
        records.append(record)
    return records


@pytest.fixture
def records(tmp_path):
    """Two records with masks and every kind of order; their images in tmp_path/images."""
    return small_records(tmp_path / "images")


@pytest.fixture
def make_records():
    """The function itself, for other numbers and sizes."""
    return small_records


@pytest.fixture(scope="session")
def categories():
    """Categories of generated scenes."""
    return [{"id": k + 1, "name": name} for k, name in enumerate(scenes.CLASSES)]
