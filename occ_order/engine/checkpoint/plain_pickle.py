"""Read pickles that hold arrays and plain values, without running anything that they name.

A pickle names functions and has them called with arguments of its choice. The pickles of
Detectron2's model zoo name few: what rebuilds NumPy's arrays, numbers and types, byte strings and
ordered dicts. Here these names stand for functions of this module, which check their arguments and
build arrays from bytes; every other name is refused before anything of it is imported. NumPy's own
functions are not called, because a made-up type or state can make them read foreign memory.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, Literal

import numpy as np

_ORDERS = ("<", ">", "=", "|")
_KINDS = "biufc"  # truth values, integers, floating-point and complex numbers


class RefusedNameError(pickle.UnpicklingError):
    """The pickle names something that is not needed for arrays and plain values."""


class _Function:
    """What a name of the pickle stands for: it can be called, and nothing of it can be changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state for a function")


class _Type:
    """`numpy.dtype(code, align, copy)`, then its state (version, byte order, ...)."""

    __slots__ = ("_dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        self._dtype = _number_type(code)

    def __setstate__(self, state: Any) -> None:
        order, rest = state[1], state[2:5]
        if order not in _ORDERS or any(part is not None for part in rest):
            raise pickle.UnpicklingError(f"a type of state {state!r}; expected one of numbers")
        self._dtype = self._dtype.newbyteorder(order)

    def array(self, data: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
        """Numbers of this type from their bytes.

        Raises:
            pickle.UnpicklingError: the bytes do not fill the shape.
        """
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise pickle.UnpicklingError(f"an array of shape {shape!r}")
        if len(data) != math.prod(sizes) * self._dtype.itemsize:
            raise pickle.UnpicklingError(
                f"{len(data)} bytes for an array of {self._dtype} and shape {sizes}"
            )
        native = self._dtype.newbyteorder("=")
        return np.frombuffer(data, self._dtype).reshape(sizes, order=order).astype(native)


class _Array:
    """`_reconstruct(ndarray, shape, code)`, then its state (version, shape, type, order, bytes)."""

    __slots__ = ("value",)

    def __init__(self, *args: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        self.value = dtype.array(data, shape, "F" if is_fortran else "C")


def _number_type(code: Any) -> np.dtype:
    code = code.decode("latin1") if isinstance(code, bytes) else code
    dtype = np.dtype(code) if isinstance(code, str) else None
    if dtype is None or dtype.kind not in _KINDS:
        raise pickle.UnpicklingError(f"a type {code!r}; expected one of numbers")
    return dtype


def _from_buffer(data: Any, dtype: _Type, shape: Any, order: str) -> np.ndarray:
    """How protocol 5 rebuilds an array."""
    return dtype.array(data, shape, "F" if order == "F" else "C")


def _scalar(dtype: _Type, data: Any) -> Any:
    return dtype.array(data, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes byte strings."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"a byte string in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes an empty byte string."""
    return b""


def _no_function(*args: Any) -> Any:
    raise pickle.UnpicklingError("an array type is called")


_FUNCTIONS = {
    ("numpy", "ndarray"): _Function(_no_function),  # only handed to _reconstruct
    ("numpy", "dtype"): _Function(_Type),
    **{
        (f"numpy.{core}.{module}", name): _Function(call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(_no_bytes),
    ("builtins", "bytes"): _Function(_no_bytes),
    ("collections", "OrderedDict"): _Function(dict),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _FUNCTIONS.get((module, name))
        if found is None:
            raise RefusedNameError(f"{module}.{name}")
        return found


def load_plain_pickle(file: IO[bytes]) -> Any:
    """Read a pickle of arrays, dicts, lists, tuples, strings and numbers.

    Args:
        file: open for reading bytes. Pickles of Python 2 too: their strings are read as Latin-1.

    Returns:
        What it holds. Ordered dicts come as dicts, NumPy's numbers as Python's, arrays in the byte
        order of this machine.

    Raises:
        RefusedNameError: it names anything else; the message is the name.
        pickle.UnpicklingError: it is damaged, or what it rebuilds is no array of numbers.
    """
    data = file.read()
    try:
        _check_sizes(data)
        return _unwrapped(_PlainUnpickler(io.BytesIO(data), encoding="latin1").load(), {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged bytes raise whatever they happen to run into
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


def _check_sizes(data: bytes) -> None:
    """Refuse what would take memory that the file does not fill.

    Raises:
        pickle.UnpicklingError: a value is remembered under a number that no pickler reaches.
        ValueError: the bytes end before a value does.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        puts = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if puts and isinstance(argument, int) and argument > count:
            raise pickle.UnpicklingError(f"number {argument} for the value that comes {count}th")


def _unwrapped(value: Any, done: dict[int, Any]) -> Any:
    """Nested containers with arrays in place of `_Array`; what is shared is visited once."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        result: Any = value.value
    elif isinstance(value, dict):
        result = {key: _unwrapped(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        result = type(value)(_unwrapped(item, done) for item in value)
    elif isinstance(value, _Function | _Type):
        raise pickle.UnpicklingError("a function or a type among the values")
    else:
        result = value
    done[id(value)] = result
    return result
