"""Pickles of arrays are read without calling what they name."""

import io
import os
import pickle
import pickletools
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from occ_order.engine.checkpoint import CheckpointError, OrderCheckpointer, read_checkpoint
from occ_order.engine.checkpoint.plain_pickle import RefusedNameError, load_plain_pickle


def load(data):
    return load_plain_pickle(io.BytesIO(data))


VALUES = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">i2"),
    "half": np.array([0.5, -2], dtype=np.float16),
    "truth": np.array([[True], [False]]),
    "empty": np.zeros((0, 3), np.uint8),
    "nothing": np.array(3.25),
    "view": np.arange(10)[::3],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_those_that_were_stored(protocol):
    found = load(pickle.dumps(VALUES, protocol))
    assert list(found) == list(VALUES)
    for name, value in VALUES.items():
        assert np.array_equal(found[name], value) and found[name].shape == value.shape
        assert found[name].dtype == value.dtype.newbyteorder("=")
        assert found[name].flags.writeable


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_numbers_of_numpy(protocol):
    whole = {
        "text": "a", "bytes": b"\xff\0", "list": [1, 2.5, None, True], "pair": (1, (2,)),
        "ordered": OrderedDict(b=1, a=2), "number": np.float32(1.5), "count": np.int64(7),
    }  # fmt: skip
    found = load(pickle.dumps(whole, protocol))
    assert found == {**whole, "number": 1.5, "count": 7}
    assert type(found["number"]) is float and list(found["ordered"]) == ["b", "a"]


def test_strings_of_python_2():
    """What Detectron2's ImageNet files look like: protocol 2 with strings of bytes."""
    state = b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
    numbers = np.array([1.0, -2.0], "<f4").tobytes()
    whole = (
        b"\x80\x02}U\x05res_wcnumpy.core.multiarray\n_reconstruct\n"
        b"(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state + b"U\x08" + numbers + b"tbs."
    )
    found = load(whole)
    assert np.array_equal(found["res_w"], [1.0, -2.0]) and found["res_w"].dtype == np.float32


def test_what_is_shared_stays_shared():
    one = np.zeros(3)
    found = load(pickle.dumps({"a": one, "b": one, "c": [one]}))
    assert found["a"] is found["b"] is found["c"][0]


class Calls:
    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


FORBIDDEN = [
    Calls(eval, "1"),
    Calls(os.system, "true"),
    Calls(getattr, 1, "real"),
    Calls(np.load, "x.npy"),
    Calls(np.fromfile, "x"),
    Calls(__import__, "os"),
    Path("x"),
    torch.zeros(2),
    torch.float32,
    np.ma.zeros(2),
    slice(1, 2),
    object(),
]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("value", FORBIDDEN, ids=lambda value: str(type(value).__name__))
def test_every_other_name_is_refused(value, protocol):
    with pytest.raises(RefusedNameError):
        load(pickle.dumps({"model": value}, protocol))


@pytest.mark.parametrize(
    "name",
    [b"cnumpy\nndarray.tofile\n", b"cnumpy.core.multiarray\nfromfile\n", b"cbuiltins\neval\n"],
)
def test_names_are_compared_whole(name):
    with pytest.raises(RefusedNameError):
        load(name + b".")


def test_refused_modules_are_not_imported():
    sys.modules.pop("this", None)
    with pytest.raises(RefusedNameError, match="this.d"):
        load(b"cthis\nd\n.")
    assert "this" not in sys.modules


OBJECTS = np.empty(1, dtype=object)
STRUCTURE = np.zeros(1, dtype=[("a", "f4")])
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(OBJECTS),
        pickle.dumps(STRUCTURE),
        pickle.dumps(np.array(["text"])),
        pickle.dumps(np.datetime64(1, "s")),
        # bytes as pointers: an array of objects made from raw bytes
        RECONSTRUCT + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\ntcnumpy\ndtype\n(S'O8'\ntRI00\n"
        b"S'AAAAAAAA'\ntb.",
        # more numbers than bytes
        RECONSTRUCT + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I99\ntcnumpy\ndtype\n(S'f4'\ntRI00\n"
        b"S'AAAA'\ntb.",
        RECONSTRUCT + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I-1\ntcnumpy\ndtype\n(S'f4'\ntRI00\n"
        b"S'AAAA'\ntb.",
        b"cnumpy\nndarray\n(I9\ntR.",  # the array type called
        b"cnumpy\ndtype\n.",  # a function as a value
        b"cnumpy\ndtype\n}S'_call'\nI1\nsb.",  # a function's state
        b"cnumpy\ndtype\n(}}S'__doc__'\nI1\nstb.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"\x80\x02}q\0h\0h\0h\0ss.",  # unhashable
        b"",
        b"]",
        b"\x80\x09.",
        b"P1\n.",  # a persistent id
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # 2^63 bytes
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # 2^40 bytes
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # remembered as the 2^31st value: 32 GiB of table
    ],
    ids=range(20),
)
def test_damage_is_one_error(data):
    with pytest.raises(pickle.UnpicklingError):
        load(data)


def test_a_list_in_itself_and_lists_that_double():
    whole: list = []
    whole.append(whole)
    with pytest.raises(pickle.UnpicklingError, match="RecursionError"):
        load(pickle.dumps(whole))
    doubled: list = []
    for _ in range(60):  # 2^60 entries if what is shared were visited anew
        doubled = [doubled, doubled]
    found = load(pickle.dumps(doubled))
    assert found[0] is found[1]


def test_flipped_bytes_end_in_an_error_or_in_plain_values():
    data = pickle.dumps({"a": VALUES["float"], "b": [1, "text"], "c": np.float32(2)}, 2)
    rng = np.random.default_rng(0)
    plain = (dict, list, tuple, str, bytes, int, float, complex, bool, type(None), np.ndarray)

    def check(value):
        assert isinstance(value, (*plain, set, frozenset))
        for item in value.values() if isinstance(value, dict) else ():
            check(item)
        for item in value if isinstance(value, list | tuple) else ():
            check(item)

    failed = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            check(load(bytes(damaged)))
        except pickle.UnpicklingError:
            failed += 1
    assert 0 < failed < 2000


# --- as checkpoints


def test_weights_of_detectron2s_zoo_load_without_a_flag(tmp_path):
    """Its files hold arrays under "model" beside the author; ours are read by the same names."""
    weights = {"weight": np.ones((2, 3), np.float32), "bias": np.full(2, 5, np.float32)}
    zoo = {"model": weights, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(zoo, 2))
    model = nn.Linear(3, 2)
    OrderCheckpointer(model, strict=True).load(str(tmp_path / "model.pkl"))
    assert (model.weight == 1).all() and (model.bias == 5).all()


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ([1], "must contain a dict of weights, got list"),
        ({"blobs": 3}, "'blobs' must be a dict, got int"),
        ({"a": 3}, "'a' is not a tensor"),
        ({3: np.zeros(1)}, "3 is not a tensor"),
        ({"model": {"a": "b"}, "__author__": "x"}, "'a' is not a tensor"),
        ({}, "it is empty"),
    ],
)
def test_pickles_without_weights(tmp_path, whole, message):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(whole))
    with pytest.raises(CheckpointError, match=f"a.pkl.*{message}"):
        read_checkpoint(tmp_path / "a.pkl")


def test_momenta_of_caffe2_are_no_weights(tmp_path):
    blobs = {"conv1_w": np.zeros(2), "conv1_w_momentum": np.zeros(2)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": blobs, "cfg": "text"}, 2))
    found = read_checkpoint(tmp_path / "a.pkl")
    assert list(found["model"]) == ["conv1_w"] and found["matching_heuristics"]


def test_the_message_names_what_is_refused(tmp_path):
    data = pickle.dumps({"model": {"a": np.zeros(1)}, "cfg": Path("x")})
    assert any(op.name == "STACK_GLOBAL" for op, _, _ in pickletools.genops(data))
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a.pkl: contains pathlib.*--allow-unsafe-pickle"):
        read_checkpoint(tmp_path / "a.pkl")
