"""The fuzzer of the readers: a short run finds nothing, and it finds what is there."""

from __future__ import annotations

import json
import pickle
import random
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def fuzzer(load_script):
    return load_script("tools/fuzz_readers.py")


def test_a_short_fuzzing_run_finds_nothing(fuzzer, tmp_path):
    targets = fuzzer.make_targets(tmp_path)
    assert len(targets) >= 30
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
