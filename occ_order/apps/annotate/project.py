"""What is to be asked about a data set, what has been answered, and the files made from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order.apps.annotate.agreement import (
    agreement_with_others,
    seconds_per_answer,
    task_agreement,
)
from occ_order.apps.annotate.answers import (
    UNCLEAR,
    WITHDRAWN,
    Answer,
    AnswerLog,
    Pair,
    checked_name,
    settle,
)
from occ_order.apps.annotate.guesses import DEPTH_WORDS, OCCLUSION_WORDS, RANGE_WORDS
from occ_order.apps.annotate.protocol import Protocol
from occ_order.apps.annotate.selection import asked_pairs, chosen, pairs_of, shuffled, stack
from occ_order.draw.canvas import label_points
from occ_order.draw.outlines import mask_path
from occ_order.files import load_image, read_bytes, resolve_inside, write_json
from occ_order.formats import save_instaorder
from occ_order.formats.coco_order import save_coco_order
from occ_order.formats.convert import DataSet
from occ_order.masks import bounding_box
from occ_order.order import CLOSER, EQUAL, UNKNOWN
from occ_order.order.encoding import DEPTH_REVERSED, empty_depth
from occ_order.order.graph import layers

ANSWERS_FILE = "answers.jsonl"
ORDER_FILE = "instaorder.json"
INSTANCES_FILE = "instances.json"
TABLE_FILE = "order.csv"
AGREEMENT_FILE = "agreement.json"

MAX_SIDE = 1600
"""Images are shown no larger than this, in pixels."""

_OCCLUSIONS = {word: directions for directions, word in OCCLUSION_WORDS.items()}
_DEPTHS = {word: relation for relation, word in DEPTH_WORDS.items()}
_RANGES = {word: value for value, word in RANGE_WORDS.items()} | {None: UNKNOWN}


class Project:
    """Questions about a data set and the answers to them.

    Args:
        data: records with visible masks; their images must exist. Orders they have are not used.
        folder: where answers and results lie; made if need be.
        protocol: how to ask. Images with fewer than two instances left are left out.

    Raises:
        ValueError: names the image and what is wrong: an image missing, ids used twice, or answers
            of another data set in the folder.
    """

    def __init__(
        self, data: DataSet, folder: str | os.PathLike, protocol: Protocol | None = None
    ) -> None:
        self.data, self.folder = data, Path(folder)
        self.protocol = protocol or Protocol()
        records = [chosen(record, self.protocol) for record in data.records]
        self.records = [record for record in records if len(record["annotations"]) > 1]
        self._place = {record["image_id"]: k for k, record in enumerate(self.records)}
        if len({record["image_id"] for record in records}) < len(records):
            raise ValueError("two images have the same id")
        for record in self.records:
            if not os.path.isfile(record["file_name"]):
                raise ValueError(
                    f"image {record['image_id']}: no such image: {record['file_name']}"
                )
        self.pairs = [pair for r in self.records for pair in asked_pairs(r, self.protocol)]
        self._asked = set(self.pairs)
        self.quiz: dict[Pair, dict[str, Any]] = {}
        self.guesses: dict[Pair, dict[str, str]] = {}
        self._known = {pair for record in self.records for pair in pairs_of(record)}
        self._names = {c["id"]: str(c["name"]) for c in data.categories}
        self._skipped: dict[str, dict[Pair, None]] = {}
        self.log = AnswerLog(resolve_inside(self.folder, ANSWERS_FILE))
        for pair in self.log.pairs():
            self._check_known(pair)
        self._judge()

    def set_quiz(self, path: str | os.PathLike) -> None:
        """Ask everybody about pairs first of which the right answer is known.

        Section 3.1 of the paper: "real examples appear as quizzes. Only annotators who passed all
        quizzes were allowed to participate in the annotation."

        Args:
            path: answers to the pairs, as this program writes them.

        Raises:
            ValueError: the file cannot be read, is empty, or about a pair that is not asked about;
                a right answer is missing, unclear, or not the only one.
            OSError: there is no such file.
        """
        read_bytes(path, 0)  # an OSError where it cannot be read; a new log would begin empty
        log = AnswerLog(path)
        quiz = {}
        for pair in log.pairs():
            self._check_known(pair, path)
            right = {task: self._right(log, pair, task) for task in self.protocol.tasks}
            if any(right.values()):  # not all taken back
                quiz[pair] = right
        if not quiz:
            raise ValueError(f"{path}: holds no answer")
        self.quiz = quiz
        self.pairs += [pair for pair in self.quiz if pair not in self._asked]
        self._asked = set(self.pairs)
        self._judge()

    def _right(self, log: AnswerLog, pair: Pair, task: str) -> Any:
        """Return the only answer of a quiz about a task; None if all was taken back."""
        values = {self._as_asked(task, value) for value in log.said(pair, task).values()}
        if not values and not any(log.said(pair, other) for other in self.protocol.tasks):
            return None
        unfit = {UNCLEAR, (UNCLEAR, None)} | {(word, None) for word in _DEPTHS}
        if len(values) != 1 or values & unfit:
            raise ValueError(
                f"{log.path}: image {pair[0]}, instances {pair[1:]}: expected one right answer "
                f"about {task}, got {sorted(map(str, values))}"
            )
        return values.pop()

    # --- what is settled, and who counts

    def said(self, pair: Pair, task: str) -> dict[str, Any]:
        """Return what each person who was not dismissed says about a pair, in the order asked."""
        said = self.log.said(pair, task)
        return {name: value for name, value in said.items() if name not in self._dismissed}

    def votes(self, pair: Pair, task: str) -> dict[str, Any]:
        """Return what must agree of what each person says: no ranges where these are not asked."""
        said = self.said(pair, task)
        return {name: self._as_asked(task, value) for name, value in said.items()}

    def _as_asked(self, task: str, value: Any) -> Any:
        """Return a value without the range of depth, where this is not asked."""
        return value if task == "occlusion" or self.protocol.ranges else value[0]

    def decided(self, pair: Pair, task: str) -> tuple[Any, int]:
        """Return what enough people say about a pair, and how many were asked for it (`settle`).

        Where ranges are not asked, a depth has the one that those who said it gave all the same.
        """
        value, asked = settle(self.votes(pair, task).values(), agree=self.protocol.agree)
        if task == "depth" and not self.protocol.ranges and value is not None:
            ranges = {r for relation, r in self.said(pair, task).values() if relation == value}
            value = value, ranges.pop() if len(ranges) == 1 else None
        return value, asked

    def settled(self, pair: Pair) -> bool:
        """Whether enough people agree on each task about a pair."""
        return pair in self._settled

    def dismissed(self, annotator: str) -> bool:
        """Whether a person has failed the quiz: they are not asked, and do not count."""
        return annotator in self._dismissed

    def _judge(self) -> None:
        """Find out anew who is dismissed and what is settled."""
        self._dismissed = {name for name in self.log.annotators() if self._fails(name)}
        self._settled = {pair for pair in self.log.pairs() if self._agreed(pair)}

    def _fails(self, annotator: str) -> bool:
        done, right = self.quiz_result(annotator)
        return 0 < len(self.quiz) == done and right < self.protocol.quiz_share * done

    def quiz_result(self, annotator: str) -> tuple[int, int]:
        """Return number of quiz pairs that a person has answered, and of those answered right."""
        tasks = self.protocol.tasks
        done = self.log.answered_by(annotator, tasks) & set(self.quiz)
        right = [
            pair
            for pair in done
            if all(
                self._as_asked(task, self.log.said(pair, task)[annotator]) == self.quiz[pair][task]
                for task in tasks
            )
        ]
        return len(done), len(right)

    def _agreed(self, pair: Pair) -> bool:
        return all(self.decided(pair, task)[0] is not None for task in self.protocol.tasks)

    # --- questions

    def next_pair(self, annotator: str) -> Pair | None:
        """Return the pair to ask a person about next; None: nothing is left, or they are dismissed.

        Pairs of the quiz come first, whether or not they are settled; then those that are not
        settled; skipped ones once no other is left. Each only if the person has not answered it.
        """
        annotator = checked_name(annotator)
        skipped = self._skipped.get(annotator, {})
        left = self._left(annotator)
        in_quiz = [pair for pair in left if pair in self.quiz]
        for pair in in_quiz or left:
            if pair not in skipped:
                return pair
        waiting = set(in_quiz or left)
        return next((pair for pair in skipped if pair in waiting), None)

    def _left(self, annotator: str) -> list[Pair]:
        """Return the pairs that a person will be asked about, in their order."""
        if self.dismissed(annotator):
            return []
        done = self.log.answered_by(annotator, self.protocol.tasks)
        pairs = self.pairs
        if self.protocol.shuffle:
            pairs = _shuffled(tuple(pairs), annotator, self.protocol.seed)
        return [p for p in pairs if p not in done and (p in self.quiz or not self.settled(p))]

    def skip(self, annotator: str, pairs: Iterable[Pair]) -> None:
        """Put pairs behind all others of a person; nothing is written."""
        skipped = self._skipped.setdefault(annotator, {})
        for pair in pairs:
            skipped.pop(pair, None)
            skipped[pair] = None

    def answer(self, answers: Iterable[Answer]) -> None:
        """Take answers that a person gives at once.

        Raises:
            ValueError: one is about a pair that is not asked about, or changes the quiz after its
                end, or another program has added such a one to the file.
            OSError: they cannot be written.
        """
        answers = list(answers)
        for answer in answers:
            if answer.pair not in self._known:
                raise ValueError(f"no question is asked about the pair {answer.pair}")
            if answer.pair in self.quiz and self._quiz_is_over(answer.annotator):
                raise ValueError("the quiz is over: its answers stay")
        now = datetime.now(timezone.utc).isoformat()
        new = self.log.append([replace(answer, time=now) for answer in answers])
        for answer in new:
            self._check_known(answer.pair)
        if any(answer.pair in self.quiz for answer in new):
            self._judge()
        for answer in new:  # a correction can also end an agreement
            change = self._settled.add if self._agreed(answer.pair) else self._settled.discard
            change(answer.pair)

    def undo(self, annotator: str) -> list[Pair]:
        """Take back what a person has sent last.

        Returns:
            The pairs that it was about; none where nothing can be taken back, as after the end of
            the quiz its answers.

        Raises:
            OSError: it cannot be written.
        """
        if not self.can_undo(annotator):
            return []
        turn = self.log.turns(annotator)[-1]
        self.answer(
            Answer(
                *answer.pair,
                annotator,
                occlusion=answer.occlusion and WITHDRAWN,
                depth=answer.depth and WITHDRAWN,
            )
            for answer in list(turn)
        )
        return [answer.pair for answer in turn]

    def can_undo(self, annotator: str) -> bool:
        """Whether `undo` would take something back."""
        turns = self.log.turns(annotator)
        if not turns:
            return False
        return not (self._quiz_is_over(annotator) and any(a.pair in self.quiz for a in turns[-1]))

    def _quiz_is_over(self, annotator: str) -> bool:
        return self.quiz_result(annotator)[0] == len(self.quiz)

    def _check_known(self, pair: Pair, path: str | os.PathLike | None = None) -> None:
        if pair not in self._known:
            raise ValueError(
                f"{path or self.log.path} holds an answer about image {pair[0]}, instances "
                f"{pair[1:]}, which is not asked about in these data"
            )

    def progress(self, annotator: str) -> dict[str, Any]:
        """How far everybody and a person are.

        Returns:
            Counts of pairs: "pairs", "settled"; "answered" by the person and "left" for them;
            "seconds_left" at the person's speed, None while it is unknown; "quiz": None or counts
            of "pairs", "answered", "right"; "dismissed"; "can_undo".
        """
        left = len(self._left(annotator))
        seconds = seconds_per_answer(self.log.turns(annotator))
        done, right = self.quiz_result(annotator)
        return {
            "pairs": len(self.pairs),
            "settled": sum(self.settled(pair) for pair in self.pairs),
            "answered": len(self.log.answered_by(annotator, self.protocol.tasks)),
            "left": left,
            "seconds_left": None if seconds is None else seconds * left,
            "quiz": {"pairs": len(self.quiz), "answered": done, "right": right}
            if self.quiz
            else None,
            "dismissed": self.dismissed(annotator),
            "can_undo": self.can_undo(annotator),
        }

    def question(self, pairs: list[Pair], annotator: str) -> dict[str, Any]:
        """Return what a page needs to ask about pairs of one image.

        Returns:
            The image with its "things" (outline, box and a point inside of each instance that the
            pairs name) and "pairs": indices of the two things, "open" (not answered yet), what the
            person has said last ("earlier") and what is guessed ("guess"), each as "occlusion",
            "depth", "range", as far as said; "ranks" of the things from front to back, where
            that says the depth of every pair.
        """
        place = self._place[pairs[0][0]]
        record = self.records[place]
        named = {number for pair in pairs for number in pair[1:]}
        annotations = [a for a in record["annotations"] if a["id"] in named]
        index = {annotation["id"]: k for k, annotation in enumerate(annotations)}
        done = self.log.answered_by(annotator, self.protocol.tasks)
        asked: list[Mapping[str, Any]] = [
            {
                "first": index[pair[1]],
                "second": index[pair[2]],
                "open": pair not in done,
                "earlier": _words(self.log.said_last(pair, annotator)),
                "guess": {} if pair in self.quiz else self.guesses.get(pair, {}),
            }
            for pair in pairs
        ]
        return {
            "image_id": record["image_id"],
            "image": place,
            "name": os.path.basename(record["file_name"]),
            "height": record["height"],
            "width": record["width"],
            "things": self._things(record, annotations),
            "pairs": asked,
            "ranks": _ranks(len(annotations), asked),
            "quiz": any(pair in self.quiz for pair in pairs),
        }

    def _things(self, record: dict[str, Any], annotations: list[dict]) -> list[dict[str, Any]]:
        shapes = stack(record, annotations)
        points = label_points(shapes).tolist()
        return [
            {
                "id": annotation["id"],
                "name": annotation.get("name") or self._names.get(annotation["category_id"], ""),
                "path": mask_path(mask),
                "box": bounding_box(mask).tolist(),
                "point": point,
                "area": int(mask.sum()),
            }
            for annotation, mask, point in zip(annotations, shapes, points, strict=True)
        ]

    def image_pairs(self, pair: Pair) -> list[Pair]:
        """Every pair of the same image that is asked about, but for the quiz."""
        return [p for p in self.pairs if p[0] == pair[0] and p not in self.quiz]

    def image(self, place: int) -> bytes:
        """JPEG file of the image of the `place`-th image.

        Raises:
            IndexError: there is no such image.
            ValueError: the image cannot be read.
        """
        if not 0 <= place < len(self.records):
            raise IndexError(f"there is no image number {place}")
        return _shown(self.records[place]["file_name"])

    # --- results

    def annotated_records(self) -> list[dict[str, Any]]:
        """Record of the images about which something is settled, with what is settled.

        "depth", "overlap" and "count" hold the settled pairs. "occlusion" is -1 where it is asked
        about and not settled, or people agree that nobody can tell; 0 for pairs that are not asked
        about, which do not touch. "occlusion_count" says how many people were asked.
        """
        found = []
        for record in self.records:
            orders = self._orders(record)
            if orders:
                found.append({**record, **orders})
        return found

    def _orders(self, record: dict[str, Any]) -> dict[str, np.ndarray]:
        index = {annotation["id"]: k for k, annotation in enumerate(record["annotations"])}
        depth, overlap, count = empty_depth(len(index))
        occlusion, asked = np.zeros_like(depth), np.full_like(count, self.protocol.agree)
        settled = False
        for pair in pairs_of(record):
            i, j = index[pair[1]], index[pair[2]]
            hides, people = self.decided(pair, "occlusion")
            if hides in _OCCLUSIONS:
                occlusion[i, j], occlusion[j, i] = _OCCLUSIONS[hides]
                settled = True
            elif pair in self._asked or people:
                occlusion[i, j] = occlusion[j, i] = UNKNOWN
            asked[i, j] = asked[j, i] = max(people, 1)
            closer, people = self.decided(pair, "depth")
            if closer is not None and closer[0] in _DEPTHS:
                relation = _DEPTHS[closer[0]]
                depth[i, j], depth[j, i] = relation, DEPTH_REVERSED[relation]
                overlap[i, j] = overlap[j, i] = _RANGES[closer[1]]
                count[i, j] = count[j, i] = people
        orders = {"occlusion": occlusion, "occlusion_count": asked} if settled else {}
        if (depth != UNKNOWN).any():
            orders.update(depth=depth, overlap=overlap, count=count)
        return orders

    def agreement(self) -> dict[str, Any]:
        """How well people agree on each task, and about each person what they did.

        Returns:
            `task_agreement` of each task asked; "annotators": by name "answers", "seconds" (median
            of one answer), "agreement" with others by task, "quiz" (right, answered), "dismissed".
        """
        tasks, pairs = self.protocol.tasks, self.log.pairs()
        said = {task: [self.votes(pair, task) for pair in pairs] for task in tasks}
        people = {
            name: {
                "answers": len(self.log.answered_by(name, tasks)),
                "seconds": seconds_per_answer(self.log.turns(name)),
                "agreement": {task: agreement_with_others(said[task], name) for task in tasks},
                "quiz": list(self.quiz_result(name)[::-1]) if self.quiz else None,
                "dismissed": self.dismissed(name),
            }
            for name in self.log.annotators()
        }
        shares = {task: task_agreement(said[task], agree=self.protocol.agree) for task in tasks}
        return {**shares, "annotators": people}

    def write(self) -> dict[str, int]:
        """Write the files that say what is settled, and how well people agree.

        `order.csv` holds everything, with `unknown` for what is not settled; `instaorder.json`
        has occlusion only of the images where it is settled for every pair, because InstaOrder
        takes a pair that is not listed for one that does not occlude.

        Returns:
            Counts: "images" about which something is settled, and of these "complete" (each pair).

        Raises:
            OSError: a file cannot be written.
        """
        records = self.annotated_records()
        instances, root = self.folder / INSTANCES_FILE, self.data.image_root
        listed = [complete for record in records if (complete := _with_whole_occlusion(record))]
        classes = self.data.categories
        save_instaorder(listed, self.folder / ORDER_FILE, instances, classes, image_root=root)
        table = self.folder / TABLE_FILE
        save_coco_order(records, instances, table, classes, image_root=root)
        write_json(self.folder / AGREEMENT_FILE, self.agreement())
        left = {pair[0] for pair in self.pairs if not self.settled(pair)}
        done = [record["image_id"] not in left for record in records]
        return {"images": len(records), "complete": sum(done)}


def _with_whole_occlusion(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return record without an occlusion that is unknown somewhere; None if no order is left."""
    if UNKNOWN in record.get("occlusion", ()):
        record = {k: v for k, v in record.items() if k not in ("occlusion", "occlusion_count")}
    return record if "occlusion" in record or "depth" in record else None


def _words(answer: Answer | None) -> dict[str, str]:
    """Return what an answer says, by the names of a page."""
    if answer is None:
        return {}
    said = {key: getattr(answer, key) for key in ("occlusion", "depth", "range")}
    return {key: word for key, word in said.items() if word is not None}


def _ranks(number: int, pairs: list[Mapping[str, Any]]) -> list[int] | None:
    """Places of things from front (0) to back, from the depth said or guessed of their pairs.

    None where the depth of a pair is not known. Things that are equally far, or said to be in
    front of each other in a circle, share a place.
    """
    nearer = np.zeros((number, number), np.int8)
    for pair in pairs:
        i, j = pair["first"], pair["second"]
        relation = _DEPTHS.get({**pair["guess"], **pair["earlier"]}.get("depth"))
        if relation is None:
            return None
        nearer[i, j] = relation in (CLOSER, EQUAL)
        nearer[j, i] = DEPTH_REVERSED[relation] in (CLOSER, EQUAL)
    return layers(nearer).tolist()


@lru_cache(maxsize=64)
def _shuffled(pairs: tuple[Pair, ...], annotator: str, seed: int) -> list[Pair]:
    return shuffled(list(pairs), annotator, seed)


@lru_cache(maxsize=8)
def _shown(path: str) -> bytes:
    image, buffer = Image.fromarray(load_image(path)), BytesIO()
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    image.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()
