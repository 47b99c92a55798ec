"""Answers of several annotators about pairs of instances, their log file and their agreement.

Lee & Park (InstaOrder, CVPR 2022, Section 3.1): annotators are asked about each pair of instances
of an image one after another, who occludes whom and who is closer, until two of them have given the
same answer; "count" is the number of annotators asked. Occlusion and depth are settled
independently; a depth answer is the relation together with the range ("distinct" or "overlap").

The log is an append-only JSON Lines file: a withdrawn answer stays, and a later line withdraws it.
Each line is synchronized to disk before the next question is asked, so at most an incomplete last
line can be lost; it is truncated before the next line is appended. Where the system can lock files
(not on Windows), several processes may append to one file, and each reads what the others appended.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from occ_order.files import append_whole

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TASKS = ("occlusion", "depth")

UNCLEAR = "unclear"
"""Answer of an annotator who cannot decide."""

WITHDRAWN = "withdrawn"
"""Value in the log that withdraws an earlier answer of the same annotator."""

OCCLUSIONS = ("first", "second", "both", "none", UNCLEAR)
"""Occlusion answers: which instance of the pair occludes the other."""

DEPTHS = ("first", "second", "equal", UNCLEAR)
"""Depth answers: which instance of the pair is closer."""

RANGES = ("distinct", "overlap")
"""Whether the depth ranges of the two instances are disjoint or overlap."""

SOURCES = ("question", "guess", "image")
"""Origin of an answer: a question, a confirmed prediction, or the ordering of a whole image."""

LONGEST_NAME = 40

Pair = tuple[int, int, int]
"""Image id and the annotation ids of the two instances."""


@dataclass(frozen=True)
class Answer:
    """Answer of one annotator about one pair; None for a task that was not asked.

    Attributes:
        image_id: id of the image.
        first: annotation id of the first instance.
        second: annotation id of the second instance.
        annotator: name of the annotator.
        occlusion: one of `OCCLUSIONS`, or `WITHDRAWN`.
        depth: one of `DEPTHS`, or `WITHDRAWN`.
        range: one of `RANGES`; only if `depth` is a relation.
        seconds: time from question to answer, measured by the page.
        source: one of `SOURCES`.
        time: time of storage, ISO 8601; answers sent together share it.
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
        """Return the answer to "occlusion", or (relation, range) for "depth"; None: no answer."""
        if task == "occlusion":
            return self.occlusion
        return None if self.depth is None else (self.depth, self.range)


_TAKEN_BACK = (WITHDRAWN, (WITHDRAWN, None))

_NEEDED = ("image_id", "first", "second", "annotator")
_OPTIONAL = (*TASKS, "range", "seconds", "source", "time")


def checked_answer(entry: Any) -> Answer:
    """Return the `Answer` of a parsed JSON object.

    Raises:
        ValueError: not an object, a missing or unknown key, an invalid value, or no task answered.
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
    """Return an annotator's name without surrounding whitespace.

    Raises:
        ValueError: not a string, empty, longer than `LONGEST_NAME`, or with control characters.
    """
    if not isinstance(name, str) or not name.strip() or not name.strip().isprintable():
        raise ValueError(f"the name must be printable text, got {name!r:.60}")
    if len(name.strip()) > LONGEST_NAME:
        raise ValueError(f"the name must not be longer than {LONGEST_NAME} characters")
    return name.strip()


def settle(values: Iterable[Any], *, agree: int = 2) -> tuple[Any, int]:
    """Return the first value on which enough annotators agree.

    Args:
        values: one per annotator, in the order in which they were asked.
        agree: number of equal answers needed.

    Returns:
        The value and the number of annotators asked until it had `agree` votes; (None, number of
        annotators) if no value has.
    """
    votes: dict[Any, int] = {}
    asked = 0
    for asked, value in enumerate(values, start=1):
        votes[value] = votes.get(value, 0) + 1
        if votes[value] >= agree:
            return value, asked
    return None, asked


class AnswerLog:
    """Append-only log of answers.

    A second answer of an annotator about the same pair replaces the first one but keeps its
    position in the order of annotators, even if the first one was withdrawn.

    Args:
        path: the log file; created with the first answer.

    Raises:
        ValueError: an answer cannot be parsed; names file and line. An incomplete last line, as an
            interrupted write leaves it, is ignored.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._said: dict[Pair, dict[str, dict[str, Any]]] = {}  # pair -> task -> annotator -> value
        self._turns: dict[str, list[list[Answer]]] = {}  # annotator -> submissions
        self._latest: dict[str, dict[Pair, Answer]] = {}  # last answer, even if withdrawn
        self._lines, self._end = 0, 0  # lines and bytes read so far
        if self.path.is_file():
            with open(self.path, "rb") as file:
                self._read_on(file)

    def _read_on(self, file: BinaryIO) -> list[Answer]:
        """Read the complete lines behind those already read; return their answers."""
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
        """Append answers and synchronize the file to disk.

        Returns:
            The new answers: those that other processes appended in the meantime, then these.

        Raises:
            OSError: the file cannot be written, or the disk is full; names the file, which keeps
                the complete lines it had before.
            ValueError: another process appended a line that is no answer; names file and line.
        """
        lines = "".join(_line(answer) for answer in answers).encode("utf-8")
        with self._locked() as file:
            if file.seek(0, os.SEEK_END) < self._end:
                raise OSError("it has become shorter since it was read")
            others = self._read_on(file)
            file.truncate(self._end)  # drop an incomplete last line
            append_whole(file, lines, sync=True)
            return [*others, *self._read_on(file)]

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Yield the file, opened for writing under an exclusive lock; every OSError names it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that an error is raised by the write and not when the file is closed.
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
        """Return annotator -> answer (`Answer.value`) about a pair, in the order asked."""
        values = self._said.get(pair, {}).get(task, {})
        return {name: value for name, value in values.items() if value not in _TAKEN_BACK}

    def said_last(self, pair: Pair, annotator: str) -> Answer | None:
        """Return an annotator's last answer about a pair, even if it was withdrawn."""
        return self._latest.get(annotator, {}).get(pair)

    def answered_by(self, annotator: str, tasks: Sequence[str] = TASKS) -> set[Pair]:
        """Return the pairs for which an annotator has answered every task in `tasks`."""
        pairs = self._latest.get(annotator, {})
        return {p for p in pairs if all(annotator in self.said(p, task) for task in tasks)}

    def turns(self, annotator: str) -> list[list[Answer]]:
        """Return an annotator's submissions that were not withdrawn, the most recent last."""
        return self._turns.get(annotator, [])

    def annotators(self) -> list[str]:
        """Return the names of all annotators."""
        return list(self._turns)

    def pairs(self) -> list[Pair]:
        """Return all pairs with an answer, withdrawn or not."""
        return list(self._said)


def _says(answer: Answer, pair: Pair, tasks: Sequence[str]) -> bool:
    """Return whether an answer is about `pair` and answers one of the tasks."""
    return answer.pair == pair and any(answer.value(task) is not None for task in tasks)


def _merged(before: Answer | None, answer: Answer) -> Answer:
    """Return `answer`, with the tasks it leaves out taken from the earlier answer `before`."""
    if before is None:
        return answer
    if answer.depth is None:
        answer = replace(answer, depth=before.depth, range=before.range)
    return replace(answer, occlusion=answer.occlusion or before.occlusion)


def _line(answer: Answer) -> str:
    said = {key: value for key, value in asdict(answer).items() if value is not None}
    return json.dumps(said, ensure_ascii=False) + "\n"
