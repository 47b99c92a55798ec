"""Validated access to the contents of parsed files, with error messages that name the location."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

from occ_order.files import DataError, show
from occ_order.formats.stored_json import StoredList

logger = logging.getLogger(__name__)

_REQUIRED = object()

_MOST_PROBLEMS = 20  # maximum number of problems listed in one error


class Report:
    """Adds the location (file, image, annotation) to errors, and raises or collects them.

    Readers nest `with report.at("image 7"):` around each entry. A ValueError in such a block is
    raised again as a `DataError` prefixed by the full location; if `problems` is a list, the
    message is appended to it instead, and execution continues after the block.

    Args:
        path: path of the file in messages.
        problems: None = raise the first error; a list = collect all messages.
    """

    def __init__(self, path: str | os.PathLike, problems: list[str] | None = None) -> None:
        self.problems = problems
        self._places = [os.fspath(path)]

    def at(self, place: str = "") -> Report:
        """Enter a location, as a context manager; "" = the whole file."""
        self._places.append(place)
        return self

    def located(self, message: object) -> str:
        """Return the message prefixed by the current location."""
        return ": ".join([*filter(None, self._places), str(message)])

    def add(self, message: object) -> None:
        """Raise or collect an error at the current location."""
        if self.problems is None:
            raise DataError(self.located(message))
        self.problems.append(self.located(message))

    @property
    def count(self) -> int:
        """Number of collected problems (always 0 if errors are raised)."""
        return len(self.problems or ())

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        try:
            if not isinstance(error, ValueError) or isinstance(error, DataError):
                return False
            if self.problems is None:
                raise DataError(self.located(error)) from error
            self.problems.append(self.located(error))
            return True
        finally:
            self._places.pop()


def settle_problems(
    path: str | os.PathLike, problems: Sequence[str], skip: bool, *, level: int = logging.WARNING
) -> None:
    """Raise collected problems as one error, or log their number.

    Args:
        path: the file.
        problems: messages with file and location.
        skip: whether the user asked to skip damaged entries.
        level: at which their number is logged.

    Raises:
        ValueError: there are problems and `skip` is False.
    """
    if not problems:
        return
    more = len(problems) - _MOST_PROBLEMS
    text = "\n".join([*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])
    if not skip:
        raise DataError(text)
    logger.log(level, "%s: %d damaged entries left out:\n%s", path, len(problems), text)


def size_mismatch(stated: tuple[Any, Any], found: tuple[int, int]) -> str:
    """Return an error message for a wrong image size, with the likely cause.

    Args:
        stated: (height, width) in the file.
        found: (height, width) of the image, after EXIF rotation.
    """
    text = f"has height and width {stated}, but the image has {found}"
    if tuple(stated) == tuple(found)[::-1]:
        text += (
            ": they are exchanged, or belong to the image as it is stored, without the rotation "
            "(EXIF) that is applied here"
        )
    return text


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer that fits in an int64 array."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))


_KINDS: dict[str, Callable[[object], bool]] = {
    "an integer": is_integer,
    "a positive integer": lambda value: is_integer(value) and value > 0,
    "a finite number": _is_number,
    "a string": lambda value: isinstance(value, str),
    "a list": lambda value: isinstance(value, list | StoredList),
    "an object": lambda value: isinstance(value, dict),
    "0 or 1": lambda value: value in (0, 1) and isinstance(value, int),
    "true or false": lambda value: isinstance(value, bool),
}


def field(entry: dict, key: str, kind: str, default: Any = _REQUIRED) -> Any:
    """Return `entry[key]` after checking its type.

    Args:
        entry: an object of the file.
        key: the wanted key.
        kind: expected type, one of "an integer", "a positive integer", "a finite number",
            "a string", "a list", "an object", "0 or 1", "true or false".
        default: returned when the key is absent; without it the key is required.

    Raises:
        ValueError: the key is absent, or its value is of another type.
    """
    value = entry.get(key, _REQUIRED)
    if value is _REQUIRED:
        if default is _REQUIRED:
            raise ValueError(
                f"key {key!r} is missing, the keys are {show(sorted(map(str, entry)))}"
            )
        return default
    if not _KINDS[kind](value):
        raise ValueError(f"{key!r} must be {kind}, got {show(value)}")
    return value


def listed(data: dict, key: str) -> list[dict]:
    """Return the dicts in the list `data[key]`; [] if there is no such list."""
    return list(each_listed(data, key))


def each_listed(data: dict, key: str) -> Iterator[dict]:
    """Yield the dicts in the list `data[key]`; none if there is no such list."""
    items = data.get(key)
    if isinstance(items, list | StoredList):
        yield from (item for item in items if isinstance(item, dict))


def finite(numbers: list[int | float]) -> bool:
    """Return whether all numbers are finite and in the range of floats."""
    try:
        return math.isfinite(sum(numbers))
    except OverflowError:  # an integer beyond the range of floats
        return False


def entries(
    data: dict, key: str, report: Report, default: Any = _REQUIRED
) -> Iterator[tuple[int, dict]]:
    """Yield (index, dict) of the list `data[key]`; report elements that are no objects."""
    items: Sequence[Any] = []
    with report.at():
        items = field(data, key, "a list", default)
    for index, entry in enumerate(items):
        if isinstance(entry, dict):
            yield index, entry
        else:
            with report.at(f"{key}[{index}]"):
                raise ValueError(f"must be an object, got {show(entry)}")
