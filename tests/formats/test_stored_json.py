"""Long lists of JSON files that stay in the file: what is read is what `json` reads."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from occ_order.files import read_json
from occ_order.formats import stored_json
from occ_order.formats.stored_json import StoredList, read_stored

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # half a character has no UTF-8
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


@pytest.fixture(params=[1, 7, 64, 4096])
def chunk(request, monkeypatch):
    """Bytes that are read at once; a value and a character of several bytes lie across pieces."""
    monkeypatch.setattr(stored_json, "_CHUNK", request.param)


@hypothesis.given(
    st.dictionaries(st.sampled_from(["annotations", "images", "a", "ü"]), VALUES),
    st.sampled_from([None, 1]),
    st.booleans(),
)
@hypothesis.settings(
    max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_what_is_read_is_what_json_reads(tmp_path, chunk, data, indent, escaped):
    path = tmp_path / "data.json"
    text = json.dumps(data, indent=indent, ensure_ascii=escaped)
    path.write_text(text, encoding="utf-8")
    found = read_stored(path, "annotations", "images")
    assert list(found) == list(data)
    for key, value in found.items():
        stored = key in ("annotations", "images") and isinstance(data[key], list)
        assert isinstance(value, StoredList) == stored
        assert (list(value) if stored else value) == data[key]


def test_entries_are_reached_as_those_of_a_list(tmp_path, chunk):
    path = tmp_path / "data.json"
    entries = [{"id": k, "name": "ü" * k} for k in range(20)]
    path.write_text(json.dumps({"x": entries}, ensure_ascii=False), encoding="utf-8")
    stored = read_stored(path, "x")["x"]
    assert len(stored) == 20 and stored[-1] == entries[-1] and stored[3:9:2] == entries[3:9:2]
    assert stored.ids == list(range(20))
    with pytest.raises(IndexError):
        stored[20]
    path.unlink()
    assert stored[7] == entries[7]  # an open file stays where it is


def test_ids_are_noted_and_none_where_there_is_none(tmp_path):
    path = tmp_path / "data.json"
    path.write_text('{"x": [{"id": 5}, {"id": "a"}, {}, 3, null, {"id": true}]}', encoding="utf-8")
    assert read_stored(path, "x")["x"].ids == [5, "a", None, None, None, True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"x": [1, 2}',
        '{"x": [1 2]}',
        '{"x": [1,]}',
        '{"x": [1], }',
        '{"x" [1]}',
        "{1: [1]}",
        '{"x": [1]} {}',
        '{"x": [tru]}',
        '{"x": ["a',
        '{"x": ' + "[" * 100_000,
    ],
    ids=lambda text: text[:16],
)
def test_damage_is_told_as_by_the_reader_of_whole_files(tmp_path, chunk, text):
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="data.json") as whole:
        read_json(path)
    with pytest.raises(ValueError, match="data.json") as stored:
        read_stored(path, "x")
    assert str(stored.value) == str(whole.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_encoding_that_is_read_whole_is_read(tmp_path, encoding):
    path = tmp_path / "data.json"
    path.write_text('{"x": [{"id": "ü"}, 1.5e3, 12]}', encoding=encoding)
    assert list(read_stored(path, "x")["x"]) == [{"id": "ü"}, 1500.0, 12]


def test_the_last_of_two_equal_keys_counts(tmp_path):
    path = tmp_path / "data.json"
    path.write_text('{"x": [1], "x": [2, 3]}', encoding="utf-8")
    assert list(read_stored(path, "x")["x"]) == [2, 3]
