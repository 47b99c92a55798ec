"""Answers of several people about a pair of instances, and when they agree.

Lee & Park (InstaOrder, CVPR 2022, Section 3): about every pair of an image's instances people are
asked one after another, who occludes whom and who is closer, until two of them have given the same
answer; "count" is how many were asked until then. Occlusion and depth are settled apart from each
other; a depth answer is the relation together with the range ("distinct" or "overlap").

The answers lie in a text file, one JSON object a line, that is only ever added to. A line is on the
disk before the next question is asked, so that nothing but a half-written last line can be lost: it
is cut off before the next line is added. Where the system can lock files (not on Windows), several
programs may add to one file, and each takes up what the others have added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

OCCLUSIONS = ("first", "second", "both", "none")
"""Who hides a part of the other."""

DEPTHS = ("first", "second", "equal")
"""Who is closer."""

RANGES = ("distinct", "overlap")
"""Whether the ranges of depth that the two extend over are apart or overlap."""

LONGEST_NAME = 40


@dataclass(frozen=True)
class Answer:
    """What one person says about one pair.

    Attributes:
        image_id: id of the image.
        first: annotation id of the first instance.
        second: annotation id of the second instance.
        annotator: name of the person.
        occlusion: one of `OCCLUSIONS`.
        depth: one of `DEPTHS`.
        range: one of `RANGES`.
    """

    image_id: int
    first: int
    second: int
    annotator: str
    occlusion: str
    depth: str
    range: str

    @property
    def pair(self) -> tuple[int, int, int]:
        """Image id and the two annotation ids."""
        return self.image_id, self.first, self.second


def checked_answer(entry: Any) -> Answer:
    """An answer from a parsed JSON object.

    Raises:
        ValueError: not an object, a key missing or too many, or a value that is not allowed.
    """
    keys = ("image_id", "first", "second", "annotator", "occlusion", "depth", "range")
    if not isinstance(entry, Mapping) or set(entry) != set(keys):
        raise ValueError(f"an answer must be an object with the keys {keys}, got {entry!r:.200}")
    for key in ("image_id", "first", "second"):
        if isinstance(entry[key], bool) or not isinstance(entry[key], int):
            raise ValueError(f"{key!r} must be an integer, got {entry[key]!r:.60}")
    for key, allowed in (("occlusion", OCCLUSIONS), ("depth", DEPTHS), ("range", RANGES)):
        if entry[key] not in allowed:
            raise ValueError(f"{key!r} must be one of {allowed}, got {entry[key]!r:.60}")
    return Answer(**{**entry, "annotator": checked_name(entry["annotator"])})


def checked_name(name: Any) -> str:
    """A person's name, without blanks around it.

    Raises:
        ValueError: no text, empty, longer than `LONGEST_NAME`, or with control characters.
    """
    if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
        raise ValueError(f"the name must be printable text, got {name!r:.60}")
    if len(name.strip()) > LONGEST_NAME:
        raise ValueError(f"the name must not be longer than {LONGEST_NAME} characters")
    return name.strip()


def settle(values: Iterable[Any], *, agree: int = 2) -> tuple[Any, int]:
    """The value that enough people agree on.

    Args:
        values: one for each person, in the order in which they were asked.
        agree: how many must say the same.

    Returns:
        The first value said by `agree` people, and how many were asked until then; (None, number
        of people) while there is none.
    """
    votes: dict[Any, int] = {}
    asked = 0
    for asked, value in enumerate(values, start=1):
        votes[value] = votes.get(value, 0) + 1
        if votes[value] >= agree:
            return value, asked
    return None, asked


def occlusion_of(answers: Sequence[Answer], *, agree: int = 2) -> tuple[str | None, int]:
    """What is settled about the occlusion of a pair, one of `OCCLUSIONS` or None, and the count."""
    return settle((answer.occlusion for answer in answers), agree=agree)


def depth_of(answers: Sequence[Answer], *, agree: int = 2) -> tuple[tuple[str, str] | None, int]:
    """What is settled about the depth of a pair, (relation, range) or None, and the count."""
    return settle(((answer.depth, answer.range) for answer in answers), agree=agree)


class AnswerLog:
    """The file of answers, and what it says.

    A person who answers about a pair again corrects the earlier answer and keeps their place.

    Args:
        path: the file; made with the first answer.

    Raises:
        ValueError: names file and line of an answer that cannot be read. A last line without an
            end, as an interrupted write leaves it, is no error: it does not count.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._answers: dict[tuple[int, int, int], dict[str, Answer]] = {}
        self._recent: list[Answer] = []
        self._lines, self._end = 0, 0  # what was read: lines, and bytes up to their end
        if self.path.is_file():
            with open(self.path, "rb") as file:
                self._read_on(file)

    def _read_on(self, file: BinaryIO) -> list[Answer]:
        """Take up the whole lines behind those that are known; returns their answers."""
        file.seek(self._end)
        data = file.read()
        found = []
        for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]:
            try:
                answer = checked_answer(json.loads(line.decode("utf-8")))
            except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
                raise ValueError(f"{self.path}, line {self._lines + 1}: {error}") from None
            self._lines, self._end = self._lines + 1, self._end + len(line) + 1
            self._add(answer)
            found.append(answer)
        return found

    def _add(self, answer: Answer) -> None:
        self._answers.setdefault(answer.pair, {})[answer.annotator] = answer
        self._recent.append(answer)

    def append(self, answer: Answer) -> list[Answer]:
        """Add an answer; return when the disk has it.

        Returns:
            What was taken up: answers that other programs have added meanwhile, and this one.

        Raises:
            OSError: names the file: it cannot be written, or the disk is full. It holds the whole
                lines that it held before.
            ValueError: names file and line of what another program has added and is no answer.
        """
        line = json.dumps(asdict(answer), ensure_ascii=False).encode("utf-8") + b"\n"
        with self._locked() as file:
            if file.seek(0, os.SEEK_END) < self._end:
                raise OSError("it has become shorter since it was read")
            others = self._read_on(file)
            file.truncate(self._end)  # a line without an end
            try:
                _write(file, line)
            except OSError:
                with suppress(OSError):  # then the next one to write cuts it off
                    file.truncate(self._end)
                raise
            return [*others, *self._read_on(file)]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, opened to be changed by this program alone; every error names it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that an error shows where it arises and not when the file is closed.
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            with open(handle, "r+b", buffering=0) as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        except OSError as error:
            reason = error.strerror or error
            raise OSError(
                error.errno, f"{self.path}: the answer could not be written ({reason})"
            ) from error

    def about(self, pair: tuple[int, int, int]) -> list[Answer]:
        """Answers about a pair, one for each person, in the order of their first ones."""
        return list(self._answers.get(pair, {}).values())

    def by(self, annotator: str) -> list[tuple[int, int, int]]:
        """Pairs that a person has answered, the most recent last, each once."""
        pairs = dict.fromkeys(a.pair for a in reversed(self._recent) if a.annotator == annotator)
        return list(pairs)[::-1]

    def pairs(self) -> list[tuple[int, int, int]]:
        """Every pair that somebody has answered."""
        return list(self._answers)


def _write(file: BinaryIO, data: bytes) -> None:
    """Add to an unbuffered file, which may take less than it is given; wait for the disk."""
    file.seek(0, os.SEEK_END)
    while data:
        data = data[file.write(data) :]
    os.fsync(file.fileno())
