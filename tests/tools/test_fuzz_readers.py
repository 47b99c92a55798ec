"""The fuzzer of the readers: a short run finds nothing, and it finds what is there."""

from __future__ import annotations

import json
import pickle
import random
import time
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest


@pytest.fixture(scope="module")
def fuzzer(load_script):
    return load_script("tools/fuzz_readers.py")


def test_a_short_fuzzing_run_finds_nothing(fuzzer, tmp_path):
    targets = fuzzer.make_targets(tmp_path)
    security = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    assert f", {len(targets)} targets in all" in security
    result = fuzzer.fuzz(targets.values(), tmp_path, executions=8, seed=1)
    assert not result.found, "\n".join(text for _, _, text in result.found)
    assert result.executions == 8 * len(targets)
    assert 0.2 * result.executions < result.refused < result.executions
    assert len(result.lines) > 800


def test_the_fuzzer_finds_what_is_there(fuzzer, tmp_path):
    """A reader with a fault three lines deep, which only guided mutations reach soon."""

    def faulty(path):
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data.get("a"), int):
            raise ValueError("refused")
        return 1 // (data["a"] - 256)

    target = fuzzer.Target("faulty", faulty, [b'{"a": 1}'])
    result = fuzzer.fuzz([target], tmp_path, executions=400, seed=0)
    assert [name for name, _, _ in result.found] == ["faulty"] * len(result.found)
    assert any("ZeroDivisionError" in text for _, _, text in result.found)

    def slow(path):
        while Path(path).read_bytes() != b'{"a": 1}':
            time.sleep(0.01)

    target = fuzzer.Target("slow", slow, [b'{"a": 1}'])
    result = fuzzer.fuzz([target], tmp_path, executions=4, limit=0.05)
    assert "TooSlowError" in result.found[0][2]


PAGE = {"images": [{"id": 7, "size": [6, 8]}], "annotations": [{"id": 1, "name": "cup"}]}


def test_the_same_seed_mutates_the_same(fuzzer):
    data = json.dumps(PAGE).encode()
    one, two = ([fuzzer.mutate(data, random.Random(s)) for s in range(30)] for _ in range(2))
    assert one == two and len(set(one)) > 25


XML = b'<a><image id="1"><box label="cup" x="3"/><box label="tray"/></image></a>'
TABLE = b"image,first,second\n1.png,1,2\n2.png,3,4\n"
LINES = b'{"id": 1, "names": ["a"]}\n{"id": 2}\n'


def test_files_are_changed_in_what_they_are_made_of(fuzzer):
    """Most of what comes out can still be parsed: faults lie deeper than the parser."""

    def arrays(data):
        with np.load(BytesIO(data), allow_pickle=False) as found:
            return {key: found[key].tolist() for key in found.files}

    stored = BytesIO()
    np.savez(stored, masks=np.zeros((2, 3, 4), bool), scores=np.ones(2))
    readers = {
        (XML, "mutate_xml"): ElementTree.fromstring,
        (TABLE, "mutate_lines"): lambda data: data.decode("utf-8", "surrogatepass"),
        (LINES, "mutate_lines"): lambda data: [json.loads(line) for line in data.splitlines()],
        (stored.getvalue(), "mutate_arrays"): arrays,
    }
    for (good, name), read in readers.items():
        change, found = getattr(fuzzer, name), set()
        for seed in range(60):
            found.add(change(good, random.Random(seed)))
            read(fuzzer.mutate(good, AlwaysStructure(seed)))
        assert len(found) > 30 and None not in found, name
    for data, names in (
        (XML, ("mutate_json", "mutate_arrays")),
        (TABLE, ("mutate_json", "mutate_xml", "mutate_arrays")),
        (b"\x89PNG\xff", ("mutate_json", "mutate_xml", "mutate_arrays", "mutate_lines")),
    ):
        assert {getattr(fuzzer, name)(data, random.Random(0)) for name in names} == {None}


class AlwaysStructure(random.Random):
    """Its first number is one that leaves the bytes alone."""

    first = True

    def random(self):
        value, self.first = (0.5, False) if self.first else (super().random(), False)
        return value


STRANGE = ["http://127.0.0.1:9/a.png", "|touch x", "$(touch x)", "!!python/name:os.system", "ftp:a"]


def test_no_reader_runs_code_or_reaches_out(fuzzer, tmp_path, harmful, unwanted_images):
    """Each reader gets a pickle, and its own files with addresses and commands in their texts."""
    draw = random.Random(0)
    read = []
    for target in fuzzer.make_targets(tmp_path).values():
        end = b"\n" if target.suffix == ".jsonl" else b""  # a line without an end does not count
        inputs = [data + end for data in (pickle.dumps(harmful), *unwanted_images.values())]
        for seed in target.seeds:
            inputs += [altered(seed, text, draw) for text in STRANGE]
        path = str(tmp_path / f"input{target.suffix}")
        found = [fuzzer.execute(target, data, path, 10) for data in inputs]
        assert set(found) <= {"read", "refused"}, (target.name, found)
        if target.name != "validate":  # which lists what is wrong
            assert found[:3] == ["refused"] * 3, target.name
        read += found
    assert read.count("read") > 20  # the altered files are not all refused at once


def altered(content, text, draw):
    """A JSON file with one of its texts replaced; another file with its first field replaced."""
    try:
        tree = json.loads(content)
    except ValueError:
        return text.encode() + content[content.find(b",") :]
    places = list(texts(tree))
    if not places:
        return json.dumps({**tree, "counts": text} if isinstance(tree, dict) else [text]).encode()
    holder, key = draw.choice(places)
    holder[key] = text
    return json.dumps(tree).encode()


def texts(tree):
    """Where the texts of a JSON tree are: (container, key)."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, str):
            yield tree, key
        elif isinstance(value, dict | list):
            yield from texts(value)
