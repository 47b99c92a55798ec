"""Large JSON files whose long lists stay in the file.

COCO's 860,000 annotations take 0.5 GB in the file and several times as much as Python objects. A
`StoredList` keeps only where each entry begins, and parses an entry when it is read.
"""

from __future__ import annotations

import codecs
import json
import mmap
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, overload

from occ_order.files import read_json

_CHUNK = 2**20
"""Bytes read at once."""

_parse = json.JSONDecoder().raw_decode

_WHITE = " \t\n\r"
_NOT_WHITE = re.compile(f"[^{_WHITE}]")

_LONGEST = 64
"""Characters of which at least as many follow a value in the window: a number may be cut off."""


class StoredList(Sequence[Any]):
    """List in a JSON file, which is mapped to memory; an entry is parsed each time it is read.

    The file must not be changed in place while the list is in use; replacing it does no harm.

    Args:
        file: the file, in UTF-8, open for reading; may be closed afterwards.
        places: byte offset and number of bytes of each entry, one after the other.
        ids: the "id" of each entry, None of one that has none or is no object.

    Attributes:
        ids: as above, so that an entry can be found without parsing the others.
    """

    def __init__(self, file: BinaryIO, places: array[int], ids: list[Any]) -> None:
        self._places, self.ids = places, ids
        self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._places) // 2

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return an entry, or the list of several."""
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self[k] for k in chosen]
        begin, size = self._places[2 * chosen], self._places[2 * chosen + 1]
        return _parse(self._content[begin : begin + size].decode())[0]


def read_stored(path: str | os.PathLike[str], *keys: str) -> dict[str, Any]:
    """Read a JSON file whose top level is an object, with some lists of it as `StoredList`.

    The file is read in pieces, and each entry of these lists is parsed once, to find its end and
    errors. Text in another encoding than UTF-8 is parsed as a whole.

    Args:
        path: the file.
        keys: keys of the top level whose lists are long.

    Raises:
        ValueError: as `occ_order.files.read_json`.
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _top_level(file, keys)
    except (ValueError, RecursionError):
        return read_json(path)  # tells what is wrong, with line and column


def _top_level(file: BinaryIO, keys: Sequence[str]) -> dict[str, Any]:
    window, result = _Window(file), dict[str, Any]()
    for _ in window.parts("{", "}"):
        key = window.value()
        if not isinstance(key, str):
            raise ValueError("not a key")
        window.take(":")
        begins = window.peek()
        if key in keys and begins == "[":
            places, ids = array("q"), []
            for _ in window.parts("[", "]"):
                begin, entry = window.place, window.value()
                places.extend((begin, window.place - begin))
                ids.append(entry.get("id") if isinstance(entry, dict) else None)
            result[key] = StoredList(file, places, ids)
        else:
            result[key] = window.value()
    if window.peek():
        raise ValueError("more than one value")
    return result


class _Window:
    """The part of a UTF-8 file that is being parsed.

    Attributes:
        place: byte offset of the next character in the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.place = len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0
        file.seek(self.place)
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._ended, self._ascii = "", 0, False, True

    def _read(self, size: int = _CHUNK) -> None:
        """Replace what is parsed by the next `size` bytes of the file."""
        more = self._file.read(size)
        self._ended = not more
        self._text = self._text[self._at :] + self._decode(more, final=self._ended)
        self._at, self._ascii = 0, self._text.isascii()

    def _move(self, end: int) -> None:
        length = end - self._at
        self.place += length if self._ascii else len(self._text[self._at : end].encode())
        self._at = end

    def peek(self) -> str:
        """Go past white space, and return the next character; "" at the end of the file."""
        while True:
            end = self._at
            if self._text[end : end + 1] in _WHITE:
                found = _NOT_WHITE.search(self._text, end)
                self._move(found.start() if found else len(self._text))
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def take(self, character: str) -> None:
        """Go past a character, which must be next.

        Raises:
            ValueError: another one is.
        """
        if self.peek() != character:
            raise ValueError(f"not {character}")
        self._move(self._at + 1)

    def value(self) -> Any:
        """Parse the value that begins here, and go past it.

        Raises:
            ValueError: it is not JSON.
        """
        size = _CHUNK
        while True:
            try:
                found, end = _parse(self._text, self._at)
            except ValueError:
                if self._ended:
                    raise
            else:
                if self._ended or len(self._text) - end > _LONGEST:
                    self._move(end)
                    return found
            self._read(size)
            size *= 2

    def parts(self, opening: str, closing: str) -> Iterator[None]:
        """Stop where each part of a list or an object begins; the caller goes past it.

        Raises:
            ValueError: something else than a comma between two.
        """
        self.take(opening)
        if self.peek() != closing:
            yield
            while self.peek() != closing:
                self.take(",")
                self.peek()
                yield
        self.take(closing)
