"""What every test runs under: one thread, fixed seeds, no network, no window."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib.util
import io
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

# Before any library is imported: they read these once. One thread per process, because a second
# one makes PyTorch many times slower when several test processes share the processors.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import cv2
import hypothesis
import numpy as np
import pytest
from PIL import Image

from occ_order import scenes

ROOT = Path(__file__).resolve().parents[1]

hypothesis.settings.register_profile("occ_order", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("occ_order")
cv2.setNumThreads(1)  # its threads would not survive a fork, either

COCOA_DEMO = "OCC_ORDER_COCOA_DEMO"
PHOTOS = "OCC_ORDER_PHOTOS"
DEVICE = "OCC_ORDER_TEST_DEVICE"
LOOPBACK = {"localhost", "::1", "", None}


def pytest_collection() -> None:
    """Leave garbage alone while modules are imported, which make almost none and take long."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from here on, without what the libraries and the tests consist of."""
    gc.freeze()
    gc.enable()


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
def row_cfg():
    """Settings of a row of configs/tables: name of the file, of the row, and KEY, VALUE, ..."""
    from occ_order.commands.table import read_table, settings_of
    from occ_order.config import load_cfg

    root = Path(__file__).resolve().parents[1]

    def row_cfg(table: str, name: str, *opts):
        rows = read_table(root / f"configs/tables/{table}.yaml")["rows"]
        row = next(row for row in rows if row["name"] == name)
        return load_cfg(root / row["config"], [*settings_of(row, Path("output")), *opts])

    return row_cfg


@pytest.fixture(scope="session")
def categories():
    """Categories of generated scenes."""
    return [{"id": k + 1, "name": name} for k, name in enumerate(scenes.CLASSES)]


# --- where networks run


@pytest.fixture(scope="session")
def device() -> str:
    """Name of the device that networks run on: that of OCC_ORDER_TEST_DEVICE, or "cpu"."""
    return os.environ.get(DEVICE) or "cpu"


def _moved(value, device: str):
    """Return tensors, and what holds some, on the device."""
    if hasattr(value, "to"):  # tensors, Detectron2's structures
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(one, device) for key, one in value.items()}
    if isinstance(value, list | tuple):
        made = [_moved(one, device) for one in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if dataclasses.is_dataclass(value):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return dataclasses.replace(value, **_moved(fields, device))
    return value


def _to_network(arguments, device: str):
    """Return arguments on the device; a batch of a loader is left for the network to move."""
    batch = isinstance(arguments, list) and all(isinstance(one, dict) for one in arguments)
    if isinstance(arguments, tuple):
        return tuple(_to_network(one, device) for one in arguments)
    return arguments if batch else _moved(arguments, device)


@pytest.fixture(scope="session")
def on_device(device):
    """Function that moves a network to the device and returns it.

    The network still takes and gives tensors of the CPU, where tests make and compare them. A batch
    as a loader makes it, a list of dictionaries, comes to it as it is. Methods but `forward` are
    called with what is `moved` there. One without memory for its weights stays as it is.
    """

    def on_device(network):
        if device == "cpu" or any(one.is_meta for one in network.parameters()):
            return network
        network.to(device)
        network.register_forward_pre_hook(
            lambda _, given, named: (_to_network(given, device), _moved(named, device)),
            with_kwargs=True,
        )
        network.register_forward_hook(lambda _, given, answer: _moved(answer, "cpu"))
        return network

    return on_device


@pytest.fixture(scope="session")
def moved(device):
    """Function that returns a tensor, or what holds some, on the device."""
    return lambda value: _moved(value, device)


@pytest.fixture(scope="session")
def build_model(device, on_device):
    """Function: the network of a configuration, on the device; its answers are on the CPU."""
    from detectron2.modeling import build_model as build

    def build_model(cfg):
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = device
        return on_device(build(cfg))

    return build_model


# --- what several folders of tests start from


@pytest.fixture(scope="session")
def load_script():
    """Function that loads a script beside the package as a module: its path from the root."""

    def load_script(path: str):
        name = f"tests_{Path(path).stem}"
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load_script


@pytest.fixture(scope="session")
def run_python():
    """Function that runs Python in a new process, from the root; a status but 0 is a failure."""

    def run_python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run_python


@pytest.fixture(scope="session")
def run_bare(run_python):
    """Function that runs code where PyTorch, Detectron2 and Matplotlib cannot be imported."""
    heavy = ("torch", "torchvision", "detectron2", "fvcore", "matplotlib")

    def run_bare(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        missing = f"import sys\nsys.modules.update(dict.fromkeys({heavy}))\n"
        return run_python("-c", missing + code, *arguments)

    return run_bare


@pytest.fixture
def write(tmp_path):
    """Function that writes parsed JSON (or text) to a file below tmp_path; returns its path."""

    def write(data, name="data.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def full_disk():
    """A context in which a file may have as many bytes as it is told, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limited(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return limited


def _needs_fork() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")


@pytest.fixture(scope="session")
def toy(load_script):
    """The module toy.py: a network that trains in a second. Loaded once: it registers itself."""
    _needs_fork()
    return load_script("tests/toy.py")


class Forked:
    """A copy of this process that calls a function and ends.

    It has everything that is imported here, where a new process would import it for seconds. What
    it prints goes to files in a folder.
    """

    def __init__(self, folder: Path, function, *args) -> None:
        self.files = [folder / "stdout", folder / "stderr"]
        sys.stdout.flush(), sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._run(function, args)

    def _run(self, function, args) -> None:
        status = 1
        try:
            with open(self.files[0], "w", 1) as out, open(self.files[1], "w", 1) as err:
                os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
                sys.stdout, sys.stderr = out, err
                logging.root.handlers.clear()  # pytest's
                try:
                    function(*args)
                    status = 0
                except BaseException:
                    traceback.print_exc()
        finally:  # whatever happens, nothing may return to pytest
            os._exit(status)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; the status is negative where a signal ended it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return subprocess.CompletedProcess([], status, *(path.read_text() for path in self.files))

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Function that starts a :class:`Forked`; those that still run at the end are killed."""
    _needs_fork()
    started = []

    def forked(function, *args) -> Forked:
        started.append(Forked(tmp_path_factory.mktemp("forked"), function, *args))
        return started[-1]

    yield forked
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def ask(forked, toy):
    """ask(function, *args): calls a function of toy.py in a process that may fork and be killed."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()

    def serve() -> None:
        os.close(our_out), os.close(our_in)
        os.chdir(ROOT)
        with open(their_in, encoding="utf-8") as questions, open(their_out, "w") as answers:
            toy.serve(questions, answers)

    server = forked(serve)
    os.close(their_in), os.close(their_out)
    with open(our_out, "w", encoding="utf-8") as questions, open(our_in) as answers:

        def call(name, *args):
            print(json.dumps([name, args]), file=questions, flush=True)
            line = answers.readline()
            errors = server.files[1].read_text(encoding="utf-8")
            assert line, errors
            answer = json.loads(line)
            assert "value" in answer, answer["error"] + errors
            return answer["value"]

        yield call
        server.kill()  # it keeps nothing that an orderly end would save, and that takes seconds


# --- files that must run nothing

FORBIDDEN = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile"),
    *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"),
    *("ftplib.connect", "http.client.connect", "webbrowser.open"),
}
DATA = ("numpy", "collections", "_codecs", "torch")
"""Modules whose globals a pickle of plain arrays names; Detectron2 packs its records this way."""


class Watch:
    """Python's own audit events of what must not happen; no ``except`` can swallow them."""

    def __init__(self) -> None:
        self.on: bool = False
        self.seen: list[tuple[str, str]] = []

    def hook(self, event: str, args: tuple) -> None:
        """Note an import of a pickled global, a program, a connection or a look-up of a host."""
        if not self.on:
            return
        pickled = event == "pickle.find_class" and args[0].split(".")[0] not in DATA
        if pickled or event in FORBIDDEN:
            self.seen.append((event, str(args)[:200]))


@pytest.fixture(scope="session")
def _watch():
    watch = Watch()
    sys.addaudithook(watch.hook)  # for good: a hook cannot be taken away
    return watch


@pytest.fixture
def nothing_runs(_watch):
    """Fails the test if anything that it reads runs code, starts a program or opens a connection.

    The value is the list of such events.
    """
    _watch.seen, _watch.on = [], True
    yield _watch.seen
    _watch.on = False
    assert _watch.seen == []


class Harmful:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def harmful(tmp_path, nothing_runs):
    """An object whose pickle makes a folder when it is loaded; the test fails if it was."""
    folder = tmp_path / "made_by_a_pickle"
    yield Harmful(folder)
    assert not folder.exists(), "a file ran code"


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 6
%%EndComments
newpath 0 0 moveto 8 6 lineto stroke
showpage
%%EOF
"""


@pytest.fixture(scope="session")
def unwanted_images():
    """Images of 6 x 8 whose readers in Pillow start a program, or that nobody asked for."""
    dds = io.BytesIO()
    Image.new("RGB", (8, 6)).save(dds, "DDS")
    return {"EPS": EPS, "DDS": dds.getvalue()}
