"""Answers of several people about a pair of instances, and when they agree.

Lee & Park (InstaOrder, CVPR 2022, Section 3.1): about every pair of an image's instances people are
asked one after another, who occludes whom and who is closer, until two of them have given the same
answer; "count" is how many were asked until then. Occlusion and depth are settled apart from each
other; a depth answer is the relation together with the range ("distinct" or "overlap").

The answers lie in a text file, one JSON object a line, that is only ever added to: an answer that
is taken back stays, and a later line says so. A line is on the disk before the next question is
asked, so that nothing but a half-written last line can be lost: it is cut off before the next line
is added. Where the system can lock files (not on Windows), several programs may add to one file,
and each takes up what the others have added.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TASKS = ("occlusion", "depth")

UNCLEAR = "unclear"
"""The answer of a person who cannot tell."""

WITHDRAWN = "withdrawn"
"""In the file: the person takes back what they said before."""

OCCLUSIONS = ("first", "second", "both", "none", UNCLEAR)
"""Who hides a part of the other."""

DEPTHS = ("first", "second", "equal", UNCLEAR)
"""Who is closer."""

RANGES = ("distinct", "overlap")
"""Whether the ranges of depth that the two extend over are apart or overlap."""

SOURCES = ("question", "guess", "image")
"""How an answer was given: to a question, by confirming a guess, or by ordering a whole image."""

LONGEST_NAME = 40

Pair = tuple[int, int, int]
"""Image id and the annotation ids of the two instances."""


@dataclass(frozen=True)
class Answer:
    """What one person says about one pair; what they were not asked is None.

    Attributes:
        image_id: id of the image.
        first: annotation id of the first instance.
        second: annotation id of the second instance.
        annotator: name of the person.
        occlusion: one of `OCCLUSIONS`, or `WITHDRAWN`.
        depth: one of `DEPTHS`, or `WITHDRAWN`.
        range: one of `RANGES`; only with a depth that is a relation.
        seconds: from the question to its answer, as measured by the page.
        source: one of `SOURCES`.
        time: when it was stored, as ISO 8601; answers sent together share it.
    """

    image_id: int
    first: int
    second: int
    annotator: str
    occlusion: str | None = None
    depth: str | None = None
    range: str | None = None
    seconds: float | None = None
    source: str | None = None
    time: str | None = None

    @property
    def pair(self) -> Pair:
        """Image id and the two annotation ids."""
        return self.image_id, self.first, self.second

    def value(self, task: str) -> str | tuple[str, str | None] | None:
        """Return the answer to "occlusion", or (relation, range) to "depth"; None: no answer."""
        if task == "occlusion":
            return self.occlusion
        return None if self.depth is None else (self.depth, self.range)


_TAKEN_BACK = (WITHDRAWN, (WITHDRAWN, None))

_NEEDED = ("image_id", "first", "second", "annotator")
_OPTIONAL = (*TASKS, "range", "seconds", "source", "time")


def checked_answer(entry: Any) -> Answer:
    """Return an answer from a parsed JSON object.

    Raises:
        ValueError: not an object, a key missing or too many, a value that is not allowed, or
            nothing said.
    """
    if (
        not isinstance(entry, Mapping)
        or not set(_NEEDED) <= set(entry) <= {*_NEEDED, *_OPTIONAL}
        or not set(TASKS) & set(entry)
    ):
        raise ValueError(
            f"an answer must be an object with the keys {_NEEDED}, one or both of {TASKS}, and "
            f"perhaps {_OPTIONAL[2:]}, got {entry!r:.200}"
        )
    for key in _NEEDED[:3]:
        if isinstance(entry[key], bool) or not isinstance(entry[key], int):
            raise ValueError(f"{key!r} must be an integer, got {entry[key]!r:.60}")
    for key, allowed in (
        ("occlusion", (*OCCLUSIONS, WITHDRAWN)),
        ("depth", (*DEPTHS, WITHDRAWN)),
        ("range", RANGES),
        ("source", SOURCES),
    ):
        if key in entry and entry[key] not in allowed:
            raise ValueError(f"{key!r} must be one of {allowed}, got {entry[key]!r:.60}")
    if "range" in entry and entry.get("depth") in (None, UNCLEAR, WITHDRAWN):
        raise ValueError(f"a range belongs to a depth relation, got {entry!r:.200}")
    _check_timing(entry)
    return Answer(**{**entry, "annotator": checked_name(entry["annotator"])})


def _check_timing(entry: Mapping[str, Any]) -> None:
    seconds, time = entry.get("seconds", 0), entry.get("time", "2000-01-01")
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"'seconds' must be a number of at least 0, got {seconds!r:.60}")
    try:
        datetime.fromisoformat(time)
    except (TypeError, ValueError):
        raise ValueError(f"'time' must be an ISO 8601 time, got {time!r:.60}") from None


def checked_name(name: Any) -> str:
    """Return a person's name, without blanks around it.

    Raises:
        ValueError: no text, empty, longer than `LONGEST_NAME`, or with control characters.
    """
    if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
        raise ValueError(f"the name must be printable text, got {name!r:.60}")
    if len(name.strip()) > LONGEST_NAME:
        raise ValueError(f"the name must not be longer than {LONGEST_NAME} characters")
    return name.strip()


def settle(values: Iterable[Any], *, agree: int = 2) -> tuple[Any, int]:
    """Return the value that enough people agree on.

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


class AnswerLog:
    """The file of answers, and what it says.

    A person who answers about a pair again corrects the earlier answer and keeps their place, also
    after the earlier one was taken back.

    Args:
        path: the file; made with the first answer.

    Raises:
        ValueError: names file and line of an answer that cannot be read. A last line without an
            end, as an interrupted write leaves it, is no error: it does not count.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._said: dict[Pair, dict[str, dict[str, Any]]] = {}  # pair -> task -> person -> value
        self._turns: dict[str, list[list[Answer]]] = {}  # person -> what was sent together
        self._latest: dict[str, dict[Pair, Answer]] = {}  # as said last, also if taken back
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
        tasks = self._said.setdefault(answer.pair, {task: {} for task in TASKS})
        for task in TASKS:
            value = answer.value(task)
            if value is not None:
                tasks[task][answer.annotator] = value
        turns = self._turns.setdefault(answer.annotator, [])
        taken_back = [task for task in TASKS if answer.value(task) in _TAKEN_BACK]
        if taken_back:
            kept = [[a for a in turn if not _says(a, answer.pair, taken_back)] for turn in turns]
            turns[:] = [turn for turn in kept if turn]
            return
        if turns and answer.time is not None and turns[-1][0].time == answer.time:
            turns[-1].append(answer)
        else:
            turns.append([answer])
        latest = self._latest.setdefault(answer.annotator, {})
        latest[answer.pair] = _merged(latest.get(answer.pair), answer)

    def append(self, answers: Sequence[Answer]) -> list[Answer]:
        """Add answers; return when the disk has them.

        Returns:
            What was taken up: answers that other programs have added meanwhile, and these.

        Raises:
            OSError: names the file: it cannot be written, or the disk is full. It holds the whole
                lines that it held before.
            ValueError: names file and line of what another program has added and is no answer.
        """
        lines = "".join(_line(answer) for answer in answers).encode("utf-8")
        with self._locked() as file:
            if file.seek(0, os.SEEK_END) < self._end:
                raise OSError("it has become shorter since it was read")
            others = self._read_on(file)
            file.truncate(self._end)  # a line without an end
            try:
                _write(file, lines)
            except OSError:
                with suppress(OSError):  # then the next one to write cuts it off
                    file.truncate(self._end)
                raise
            return [*others, *self._read_on(file)]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Yield the file, opened to be changed by this program alone; every error names it."""
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

    def said(self, pair: Pair, task: str) -> dict[str, Any]:
        """Return each person's answer about a pair (`Answer.value`), in the order asked."""
        values = self._said.get(pair, {}).get(task, {})
        return {name: value for name, value in values.items() if value not in _TAKEN_BACK}

    def said_last(self, pair: Pair, annotator: str) -> Answer | None:
        """Return what a person said last about a pair, even if they took it back."""
        return self._latest.get(annotator, {}).get(pair)

    def answered_by(self, annotator: str, tasks: Sequence[str] = TASKS) -> set[Pair]:
        """Pairs about which a person says something to each of the tasks."""
        pairs = self._latest.get(annotator, {})
        return {p for p in pairs if all(annotator in self.said(p, task) for task in tasks)}

    def turns(self, annotator: str) -> list[list[Answer]]:
        """Return what a person has sent and not taken back, the most recent last."""
        return self._turns.get(annotator, [])

    def annotators(self) -> list[str]:
        """Everybody who has answered."""
        return list(self._turns)

    def pairs(self) -> list[Pair]:
        """Every pair that somebody has answered."""
        return list(self._said)


def _says(answer: Answer, pair: Pair, tasks: Sequence[str]) -> bool:
    """Whether an answer is about a pair and says something to one of the tasks."""
    return answer.pair == pair and any(answer.value(task) is not None for task in tasks)


def _merged(before: Answer | None, answer: Answer) -> Answer:
    """Return an answer, completed by an earlier one where it says nothing about a task."""
    if before is None:
        return answer
    if answer.depth is None:
        answer = replace(answer, depth=before.depth, range=before.range)
    return replace(answer, occlusion=answer.occlusion or before.occlusion)


def _line(answer: Answer) -> str:
    said = {key: value for key, value in asdict(answer).items() if value is not None}
    return json.dumps(said, ensure_ascii=False) + "\n"


def _write(file: BinaryIO, data: bytes) -> None:
    """Add to an unbuffered file, which may take less than it is given; wait for the disk."""
    file.seek(0, os.SEEK_END)
    while data:
        data = data[file.write(data) :]
    os.fsync(file.fileno())
