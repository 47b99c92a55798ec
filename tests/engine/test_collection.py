"""Large collections: nothing is done twice, nothing is lost when a worker dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import occ_order
from occ_order.engine import collection
from occ_order.order import io

ROOT = Path(occ_order.__file__).parents[1]
NAMES = [f"{k:02d}.png" for k in range(11)]


def predict(file):
    if file.name == "05.png":
        raise OSError(f"{file.name} is damaged")
    return {"image_id": "x", "height": 4, "width": 5, "instances": []}


def run(output, **more):
    return list(
        collection.predict_shards(Path("images"), NAMES, output, predict, shard_size=3, **more)
    )


def test_one_worker_does_everything_once(tmp_path):
    assert run(tmp_path) == [0, 1, 2, 3]
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "shards").iterdir()}
    assert run(tmp_path) == []
    assert {f.name: f.stat().st_mtime_ns for f in (tmp_path / "shards").iterdir()} == before
    path, failed = collection.merge(tmp_path, NAMES, shard_size=3)
    images = io.load_results(path)
    assert [image["image_id"] for image in images] == [n for n in NAMES if n != "05.png"]
    assert failed == [{"file_name": "05.png", "error": "05.png is damaged"}]


def test_any_number_of_workers_finishes_what_others_left(tmp_path):
    assert run(tmp_path, worker=1, workers=3) == [1]
    with pytest.raises(ValueError, match="3 of 4 shards are missing .first: 0."):
        collection.merge(tmp_path, NAMES, shard_size=3)
    assert run(tmp_path, worker=0, workers=2) == [0, 2]
    assert run(tmp_path, worker=1, workers=2) == [3]
    one = tmp_path / "one"
    run(one)
    a, b = (collection.merge(folder, NAMES, shard_size=3)[0] for folder in (tmp_path, one))
    assert a.read_bytes() == b.read_bytes()


def test_an_error_that_is_not_one_images_ends_the_run(tmp_path):
    with pytest.raises(OSError, match="damaged"):
        run(tmp_path, unreadable=())
    assert sorted(f.name for f in (tmp_path / "shards").iterdir()) == ["000000.json"]


@pytest.fixture
def image_files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b"x")
    return folder


def test_other_images_or_another_model_are_refused(tmp_path, image_files):
    def plan(names=NAMES, model="a"):
        return collection.make_plan(image_files, names, shard_size=3, settings={"model": model})

    collection.start(tmp_path, plan())
    collection.start(tmp_path, plan())
    others = [plan(names=NAMES[1:]), plan(model="b")]
    (image_files / NAMES[0]).write_bytes(b"longer")
    for other in [*others, plan()]:
        with pytest.raises(ValueError, match="holds the results of another run"):
            collection.start(tmp_path, other)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '{"format": 1}', "[" * 100_000])
def test_a_damaged_plan_is_named(tmp_path, image_files, text):
    plan = collection.make_plan(image_files, NAMES, shard_size=3, settings={})
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"plan\.json|another run"):
        collection.start(tmp_path, plan)


def changed(**more):
    return lambda content: {**content, **more}


SPOILED = {
    "nothing in it": (
        changed(images=[], failed=[]),
        "is about 0 images, expected 3: '03.png' to '06.png'",
    ),
    "another model": (changed(plan="b"), "was made by another plan .'b', expected 'a'"),
    "no list": (changed(images=None), "must hold the lists"),
    "no objects": (changed(images=[3]), "must hold the lists"),
    "a list": (lambda content: [], "the top level must be an object"),
    "twice": (lambda c: {**c, "images": c["images"] * 2}, "is about 6 images"),
    "of no name": (changed(images=[{}], failed=[]), "is about 1 images"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_shard_that_is_not_of_the_plan_is_not_merged(tmp_path, case):
    change, message = SPOILED[case]
    names = [name for name in NAMES if name != "05.png"]
    more = {"shard_size": 3, "plan": "a"}
    list(collection.predict_shards(Path("p"), names, tmp_path, predict, **more))
    assert collection.merge(tmp_path, names, **more)[1] == []
    file = tmp_path / "shards" / "000001.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=f"000001.json: {message}"):
        collection.merge(tmp_path, names, **more)


def test_shards_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shards").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link that leads out of the folder"):
        run(tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "size", "message"), [([], 3, "no images"), (NAMES, 0, "at least one image")]
)
def test_what_makes_no_plan(tmp_path, names, size, message):
    with pytest.raises(ValueError, match=message):
        collection.make_plan(tmp_path, names, shard_size=size, settings={})


def test_no_such_worker(tmp_path):
    with pytest.raises(ValueError, match="worker 2 of 2"):
        run(tmp_path, worker=2, workers=2)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
    ],
)
def test_workers_are_counted_by_who_starts_them(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert collection.worker_of_environment() == expected
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="got 'first' and '2'"):
        collection.worker_of_environment()


WORKER = """
import sys, time
from pathlib import Path
from occ_order.engine.collection import predict_shards, worker_of_environment

def predict(file):
    time.sleep(float(sys.argv[2]))
    return {"image_id": 0, "height": 4, "width": 5, "instances": []}

names = [f"{k:02d}.png" for k in range(12)]
worker, workers = worker_of_environment()
print("ready", flush=True)
for _ in predict_shards(Path("p"), names, Path(sys.argv[1]), predict, shard_size=2, worker=worker,
                        workers=workers):
    pass
"""


def start(output, worker, workers, pause):
    environment = {**os.environ, "RANK": str(worker), "WORLD_SIZE": str(workers)}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", WORKER, str(output), str(pause)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_of_two_workers_one_is_killed_and_the_next_run_finishes(tmp_path):
    two = [start(tmp_path, worker, 2, 0.03 if worker == 0 else 5) for worker in range(2)]
    try:
        assert [process.stdout.readline() for process in two] == ["ready\n", "ready\n"]
        assert two[0].wait(timeout=60) == 0  # does not wait for the other, which sleeps
        two[1].send_signal(signal.SIGKILL)
        assert two[1].wait(timeout=60) == -signal.SIGKILL
    finally:
        for process in two:
            process.kill()
            process.stdout.close()
    done = sorted(f.name for f in (tmp_path / "shards").glob("[0-9]*.json"))
    assert done == ["000000.json", "000002.json", "000004.json"]
    times = {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in done}
    time.sleep(0.01)
    last = start(tmp_path, 0, 1, 0)
    assert last.wait(timeout=60) == 0
    last.stdout.close()
    assert {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in done} == times
    names = [f"{k:02d}.png" for k in range(12)]
    path, failed = collection.merge(tmp_path, names, shard_size=2)
    assert [image["image_id"] for image in io.load_results(path)] == names and failed == []
    assert json.loads((tmp_path / "shards" / "000001.json").read_text())["failed"] == []
