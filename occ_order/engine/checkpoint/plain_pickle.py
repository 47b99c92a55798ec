"""Reader of pickles with arrays and plain values that does not execute any named function.

A pickle names functions that are called with arguments of its choice. The pickles of Detectron2's
model zoo name only a few: those that rebuild NumPy arrays, numbers and dtypes, byte strings and
ordered dicts. These names are mapped to functions of this module, which check their arguments and
build arrays from bytes; any other name is rejected without importing it. NumPy's own functions are
not called, because crafted dtypes or states can make them read arbitrary memory.
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
_KINDS = "biufc"  # bool, integers, floating-point and complex numbers


class RefusedNameError(pickle.UnpicklingError):
    """The pickle names something other than arrays and plain values."""


class _Function:
    """Replacement of a named function: it can be called, but its state cannot be set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state for a function")


class _Type:
    """Replacement of `numpy.dtype(code, align, copy)` and its state (version, byte order, ...)."""

    __slots__ = ("_dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        self._dtype = _number_type(code)

    def __setstate__(self, state: Any) -> None:
        order, rest = state[1], state[2:5]
        if order not in _ORDERS or any(part is not None for part in rest):
            raise pickle.UnpicklingError(f"a type of state {state!r}; expected one of numbers")
        self._dtype = self._dtype.newbyteorder(order)

    def array(self, data: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
        """Build an array of this dtype from bytes.

        Raises:
            pickle.UnpicklingError: the number of bytes does not match the shape.
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
    """Replacement of `_reconstruct(ndarray, shape, code)` and its state (version, shape, ...)."""

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
    """Build an array as protocol 5 does."""
    return dtype.array(data, shape, "F" if order == "F" else "C")


def _scalar(dtype: _Type, data: Any) -> Any:
    return dtype.array(data, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    """Build a byte string as protocol 2 does."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"a byte string in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Build an empty byte string as protocol 2 does."""
    return b""


def _no_function(*args: Any) -> Any:
    raise pickle.UnpicklingError("an array type is called")


_FUNCTIONS = {
    ("numpy", "ndarray"): _Function(_no_function),  # only an argument of _reconstruct
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
        file: binary file. Strings of Python 2 pickles are decoded as Latin-1.

    Returns:
        The content, with ordered dicts as dicts, NumPy numbers as Python numbers, and arrays in
        native byte order.

    Raises:
        RefusedNameError: the pickle names anything else; the message is the name.
        pickle.UnpicklingError: the pickle is damaged, or an array is not numeric.
    """
    data = file.read()
    try:
        _check_sizes(data)
        return _unwrapped(_PlainUnpickler(io.BytesIO(data), encoding="latin1").load(), {})
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged data can raise any error
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


def _check_sizes(data: bytes) -> None:
    """Reject values that would allocate more memory than the file has data.

    Raises:
        pickle.UnpicklingError: a memo index that no pickler would use.
        ValueError: the data end inside a value.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        puts = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if puts and isinstance(argument, int) and argument > count:
            raise pickle.UnpicklingError(f"number {argument} for the value that comes {count}th")


def _unwrapped(value: Any, done: dict[int, Any]) -> Any:
    """Replace `_Array` by arrays in nested containers; shared containers are visited once."""
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
