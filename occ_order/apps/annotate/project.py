"""An annotation project: the questions about a data set, the answers, and the exported files."""

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
"""Longest side of a displayed image, in pixels."""

_OCCLUSIONS = {word: directions for directions, word in OCCLUSION_WORDS.items()}
_DEPTHS = {word: relation for relation, word in DEPTH_WORDS.items()}
_RANGES = {word: value for value, word in RANGE_WORDS.items()} | {None: UNKNOWN}


class Project:
    """Questions about the instances of a data set and their answers.

    Args:
        data: records with visible masks; the image files must exist. Existing orders are ignored.
        folder: folder of answers and exported files; created if missing.
        protocol: annotation protocol. Images with fewer than two selected instances are skipped.

    Raises:
        ValueError: an image file is missing, an id is duplicated, or the folder holds answers about
            another data set; names the image.
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
        """Add a quiz: pairs with known answers that every annotator is asked about first.

        Section 3.1 of the paper: "real examples appear as quizzes. Only annotators who passed all
        quizzes were allowed to participate in the annotation."

        Args:
            path: answers to the pairs, a file as written by `AnswerLog`.

        Raises:
            ValueError: the file is invalid or empty, or contains an unknown pair; a correct answer
                is missing, "unclear" or ambiguous.
            OSError: there is no such file.
        """
        read_bytes(path, 0)  # raises OSError: AnswerLog would take a missing file for an empty log
        log = AnswerLog(path)
        quiz = {}
        for pair in log.pairs():
            self._check_known(pair, path)
            right = {task: self._right(log, pair, task) for task in self.protocol.tasks}
            if any(right.values()):  # not all withdrawn
                quiz[pair] = right
        if not quiz:
            raise ValueError(f"{path}: holds no answer")
        self.quiz = quiz
        self.pairs += [pair for pair in self.quiz if pair not in self._asked]
        self._asked = set(self.pairs)
        self._judge()

    def _right(self, log: AnswerLog, pair: Pair, task: str) -> Any:
        """Return the correct quiz answer to a task; None if all answers were withdrawn."""
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

    # --- settled pairs and dismissed annotators

    def said(self, pair: Pair, task: str) -> dict[str, Any]:
        """Return annotator -> answer about a pair, without dismissed ones, in the order asked."""
        said = self.log.said(pair, task)
        return {name: value for name, value in said.items() if name not in self._dismissed}

    def votes(self, pair: Pair, task: str) -> dict[str, Any]:
        """Return annotator -> answer as compared for agreement: without ranges if not asked."""
        said = self.said(pair, task)
        return {name: self._as_asked(task, value) for name, value in said.items()}

    def _as_asked(self, task: str, value: Any) -> Any:
        """Return an answer, without its depth range if the protocol does not ask for ranges."""
        return value if task == "occlusion" or self.protocol.ranges else value[0]

    def decided(self, pair: Pair, task: str) -> tuple[Any, int]:
        """Return the agreed answer about a pair and the number of annotators asked (`settle`).

        If the protocol does not ask for ranges, a settled depth gets the range given by all
        annotators who voted for it, or None if they differ.
        """
        value, asked = settle(self.votes(pair, task).values(), agree=self.protocol.agree)
        if task == "depth" and not self.protocol.ranges and value is not None:
            ranges = {r for relation, r in self.said(pair, task).values() if relation == value}
            value = value, ranges.pop() if len(ranges) == 1 else None
        return value, asked

    def settled(self, pair: Pair) -> bool:
        """Return whether every task about a pair is settled."""
        return pair in self._settled

    def dismissed(self, annotator: str) -> bool:
        """Return whether an annotator failed the quiz; their answers are ignored."""
        return annotator in self._dismissed

    def _judge(self) -> None:
        """Recompute the dismissed annotators and the settled pairs."""
        self._dismissed = {name for name in self.log.annotators() if self._fails(name)}
        self._settled = {pair for pair in self.log.pairs() if self._agreed(pair)}

    def _fails(self, annotator: str) -> bool:
        done, right = self.quiz_result(annotator)
        return 0 < len(self.quiz) == done and right < self.protocol.quiz_share * done

    def quiz_result(self, annotator: str) -> tuple[int, int]:
        """Return the numbers of quiz pairs an annotator has answered, and answered correctly."""
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
        """Return the next pair for an annotator; None if none is left or they are dismissed.

        Quiz pairs come first, settled or not, then unsettled pairs, and skipped pairs last. Pairs
        that the annotator has already answered are left out.
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
        """Return the pairs still to be asked, in this annotator's order."""
        if self.dismissed(annotator):
            return []
        done = self.log.answered_by(annotator, self.protocol.tasks)
        pairs = self.pairs
        if self.protocol.shuffle:
            pairs = _shuffled(tuple(pairs), annotator, self.protocol.seed)
        return [p for p in pairs if p not in done and (p in self.quiz or not self.settled(p))]

    def skip(self, annotator: str, pairs: Iterable[Pair]) -> None:
        """Move pairs to the end of an annotator's queue; this is not saved."""
        skipped = self._skipped.setdefault(annotator, {})
        for pair in pairs:
            skipped.pop(pair, None)
            skipped[pair] = None

    def answer(self, answers: Iterable[Answer]) -> None:
        """Store answers that were submitted together.

        Raises:
            ValueError: an answer is about an unknown pair or changes a finished quiz, or another
                process has appended an answer about an unknown pair.
            OSError: the log cannot be written.
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
        for answer in new:  # a corrected answer can also undo an agreement
            change = self._settled.add if self._agreed(answer.pair) else self._settled.discard
            change(answer.pair)

    def undo(self, annotator: str) -> list[Pair]:
        """Withdraw an annotator's last submission.

        Returns:
            The pairs of the submission; empty if there is none, or if it belongs to a quiz that the
            annotator has finished.

        Raises:
            OSError: the log cannot be written.
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
        """Return whether `undo` has anything to withdraw."""
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
        """Return the progress of the project and of one annotator.

        Returns:
            Numbers of pairs: "pairs", "settled", "answered" by the annotator and "left" for them;
            "seconds_left": estimate from the annotator's median time, None without timed answers;
            "quiz": None or the numbers of "pairs", "answered" and "right"; "dismissed" and
            "can_undo": bool.
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
        """Return the data with which the page asks about pairs of one image.

        Returns:
            The image with "things", the instances of the pairs (outline, bounding box and an inner
            point), and "pairs": indices of the two things, "open" (not answered yet), the
            annotator's last answer ("earlier") and the prediction ("guess"), the latter two as
            dicts of "occlusion", "depth" and "range"; "ranks": ranks of the things from front to
            back, None unless the depth of every pair is answered or predicted.
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
        """Return all asked pairs of the same image, without quiz pairs."""
        return [p for p in self.pairs if p[0] == pair[0] and p not in self.quiz]

    def image(self, place: int) -> bytes:
        """Return the image of record number `place` as a JPEG file.

        Raises:
            IndexError: there is no such image.
            ValueError: the image cannot be read.
        """
        if not 0 <= place < len(self.records):
            raise IndexError(f"there is no image number {place}")
        return _shown(self.records[place]["file_name"])

    # --- results

    def annotated_records(self) -> list[dict[str, Any]]:
        """Return the records of the images with a settled pair, with the settled orders.

        "depth", "overlap" and "count" hold the settled pairs. "occlusion" is -1 for pairs that are
        asked about and not settled, or settled on "unclear"; 0 for pairs that are not asked about,
        which do not touch. "occlusion_count" is the number of annotators asked.
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
        """Compute the agreement on each task and statistics of each annotator.

        Returns:
            task -> `task_agreement`; "annotators": name -> "answers" (number), "seconds" (median
            per answer), "agreement" with others per task, "quiz" ([right, answered]), "dismissed".
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
        """Write the settled orders and the agreement of annotators.

        `order.csv` holds all pairs, with `unknown` where not settled; `instaorder.json` holds
        occlusion only for images where every pair is settled, because in InstaOrder a pair that is
        not listed means no occlusion.

        Returns:
            The number of "images" with a settled pair, and of "complete" ones, with every pair
            settled.

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
    """Return the record without a partly unknown occlusion order; None if no order is left."""
    if UNKNOWN in record.get("occlusion", ()):
        record = {k: v for k, v in record.items() if k not in ("occlusion", "occlusion_count")}
    return record if "occlusion" in record or "depth" in record else None


def _words(answer: Answer | None) -> dict[str, str]:
    """Return the answered tasks of an answer as a dict for the page."""
    if answer is None:
        return {}
    said = {key: getattr(answer, key) for key in ("occlusion", "depth", "range")}
    return {key: word for key, word in said.items() if word is not None}


def _ranks(number: int, pairs: list[Mapping[str, Any]]) -> list[int] | None:
    """Return ranks of things from front (0) to back, from answered or predicted pairwise depth.

    None if the depth of a pair is unknown. Things at equal depth, or in a cycle of the depth order,
    share a rank.
    """
    nearer = np.zeros((number, number), np.int8)
    for pair in pairs:
        i, j = pair["first"], pair["second"]
        relation = _DEPTHS.get({**pair["guess"], **pair["earlier"]}.get("depth", ""))
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
