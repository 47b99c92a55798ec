"""What is to be asked about a data set, what has been answered, and the files made from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order import masks
from occ_order.apps.annotate.answers import Answer, AnswerLog, checked_name, depth_of, occlusion_of
from occ_order.draw.outlines import mask_path
from occ_order.files import load_image, resolve_inside
from occ_order.formats import save_instaorder
from occ_order.formats.convert import DataSet
from occ_order.order import CLOSER, DISTINCT, EQUAL, FARTHER, OVERLAPPING, UNKNOWN
from occ_order.order.encoding import DEPTH_REVERSED, empty_depth, empty_occlusion

ANSWERS_FILE = "answers.jsonl"
ORDER_FILE = "instaorder.json"
INSTANCES_FILE = "instances.json"

MOST_INSTANCES = 10
"""Instances of an image that are asked about (InstaOrder paper, Section 3.3)."""

MAX_SIDE = 1600
"""Pictures are shown no larger than this, in pixels."""


class Project:
    """Questions about a data set and the answers to them.

    Args:
        data: records with visible masks; their pictures must exist. Orders they have are not used.
        folder: where answers and results lie; made if need be.
        agree: how many people must say the same; the paper's 2, or 1 for somebody alone.
        max_instances: of more instances in an image, so many are drawn at random.
        seed: of that draw, which depends on nothing else but the image id.

    Raises:
        ValueError: names the image and what is wrong: a picture missing, ids used twice, or answers
            of another data set in the folder.
    """

    def __init__(
        self,
        data: DataSet,
        folder: str | os.PathLike,
        *,
        agree: int = 2,
        max_instances: int = MOST_INSTANCES,
        seed: int = 0,
    ) -> None:
        if agree < 1 or max_instances < 2:
            raise ValueError(f"agree must be >= 1, max_instances >= 2; got {agree, max_instances}")
        self.data, self.folder, self.agree = data, Path(folder), agree
        self.records = [_chosen(record, max_instances, seed) for record in data.records]
        self._place = {record["image_id"]: k for k, record in enumerate(self.records)}
        if len(self._place) < len(self.records):
            raise ValueError("two images have the same id")
        for record in self.records:
            if not os.path.isfile(record["file_name"]):
                raise ValueError(
                    f"image {record['image_id']}: no such image: {record['file_name']}"
                )
        self.pairs = [
            (record["image_id"], first["id"], second["id"])
            for record in self.records
            for first, second in combinations(record["annotations"], 2)
        ]
        self._known = set(self.pairs)
        self.log = AnswerLog(resolve_inside(self.folder, ANSWERS_FILE))
        self._names = {c["id"]: str(c["name"]) for c in data.categories}
        for pair in self.log.pairs():
            self._check_known(pair)
        self._settled = {pair for pair in self.log.pairs() if self._agreed(pair)}

    def settled(self, pair: tuple[int, int, int]) -> bool:
        """Whether enough people agree on both the occlusion and the depth of a pair."""
        return pair in self._settled

    def _agreed(self, pair: tuple[int, int, int]) -> bool:
        answers = self.log.about(pair)
        found = (occlusion_of(answers, agree=self.agree), depth_of(answers, agree=self.agree))
        return all(value is not None for value, _ in found)

    def next_pair(self, annotator: str) -> tuple[int, int, int] | None:
        """The first pair that is not settled and that a person has not answered yet."""
        answered = set(self.log.by(checked_name(annotator)))
        for pair in self.pairs:
            if pair not in answered and not self.settled(pair):
                return pair
        return None

    def earlier_pair(self, annotator: str, back: int) -> tuple[int, int, int] | None:
        """The pair that a person answered `back` answers ago (1 = last), None if there is none."""
        answered = self.log.by(checked_name(annotator))
        return answered[-back] if 1 <= back <= len(answered) else None

    def answer(self, answer: Answer) -> None:
        """Takes an answer.

        Raises:
            ValueError: it is about a pair that is not asked about, or another program has added
                such a one to the file.
            OSError: it cannot be written.
        """
        if answer.pair not in self._known:
            raise ValueError(f"no question is asked about the pair {answer.pair}")
        for new in self.log.append(answer):
            self._check_known(new.pair)
            # A correction can also end an agreement.
            (self._settled.add if self._agreed(new.pair) else self._settled.discard)(new.pair)

    def _check_known(self, pair: tuple[int, int, int]) -> None:
        if pair not in self._known:
            raise ValueError(
                f"{self.log.path} holds an answer about image {pair[0]}, instances {pair[1:]}, "
                "which is not asked about in these data"
            )

    def progress(self, annotator: str) -> dict[str, int]:
        """Counts of pairs: "pairs", "settled", "answered" (by the person), "started" (by all)."""
        return {
            "pairs": len(self.pairs),
            "settled": len(self._settled),
            "answered": len(self.log.by(annotator)),
            "started": len(self.log.pairs()),
        }

    def question(self, pair: tuple[int, int, int], annotator: str) -> dict[str, Any]:
        """What a page needs to ask about a pair: outlines, names, the person's earlier answer."""
        image_id, *ids = pair
        place = self._place[image_id]
        record = self.records[place]
        by_id = {annotation["id"]: annotation for annotation in record["annotations"]}
        size, things = (record["height"], record["width"]), []
        for number in ids:
            mask = masks.decode(by_id[number]["segmentation"], *size)
            name = by_id[number].get("name") or self._names.get(by_id[number]["category_id"], "")
            box = masks.bounding_box(mask).tolist()
            things.append({"id": number, "name": name, "path": mask_path(mask), "box": box})
        own = [a for a in self.log.about(pair) if a.annotator == annotator]
        return {
            "image_id": image_id,
            "picture": place,
            "name": os.path.basename(record["file_name"]),
            "height": size[0],
            "width": size[1],
            "things": things,
            "earlier": [own[-1].occlusion, own[-1].depth, own[-1].range] if own else None,
        }

    def picture(self, place: int) -> bytes:
        """JPEG file of the picture of the `place`-th image.

        Raises:
            IndexError: there is no such image.
            ValueError: the picture cannot be read.
        """
        if not 0 <= place < len(self.records):
            raise IndexError(f"there is no image number {place}")
        return _shown(self.records[place]["file_name"])

    # --- results

    def annotated_records(self) -> list[dict[str, Any]]:
        """Records of the images about which something is settled, with what is settled.

        "depth", "overlap" and "count" hold the settled pairs. "occlusion" is there only when it is
        settled for every pair of the image, because InstaOrder takes a pair that is not listed for
        one that does not occlude; "occlusion_count" says how many people were asked.
        """
        found = []
        for record in self.records:
            orders = self._orders(record)
            if orders:
                found.append({**record, **orders})
        return found

    def _orders(self, record: dict[str, Any]) -> dict[str, np.ndarray]:
        ids = [annotation["id"] for annotation in record["annotations"]]
        occlusion, asked = empty_occlusion(len(ids)), np.full((len(ids), len(ids)), self.agree)
        depth, overlap, count = empty_depth(len(ids))
        complete = len(ids) > 1
        for i, j in combinations(range(len(ids)), 2):
            answers = self.log.about((record["image_id"], ids[i], ids[j]))
            hides, people = occlusion_of(answers, agree=self.agree)
            complete &= hides is not None
            occlusion[i, j] = hides in ("first", "both")
            occlusion[j, i] = hides in ("second", "both")
            asked[i, j] = asked[j, i] = max(people, 1)
            closer, people = depth_of(answers, agree=self.agree)
            if closer is not None:
                relation = {"first": CLOSER, "second": FARTHER, "equal": EQUAL}[closer[0]]
                depth[i, j], depth[j, i] = relation, DEPTH_REVERSED[relation]
                ranges = OVERLAPPING if closer[1] == "overlap" else DISTINCT
                overlap[i, j] = overlap[j, i] = ranges
                count[i, j] = count[j, i] = people
        orders = {"occlusion": occlusion, "occlusion_count": asked} if complete else {}
        if (depth != UNKNOWN).any():
            orders.update(depth=depth, overlap=overlap, count=count)
        return orders

    def write(self) -> dict[str, int]:
        """Writes `instaorder.json` and the `instances.json` that it refers to.

        Returns:
            Counts: "images" written, and of these "complete" (every pair settled).

        Raises:
            OSError: a file cannot be written.
        """
        records = self.annotated_records()
        save_instaorder(
            records,
            self.folder / ORDER_FILE,
            self.folder / INSTANCES_FILE,
            self.data.categories,
            image_root=self.data.image_root,
        )
        done = [all(map(self.settled, self._pairs_of(record))) for record in records]
        return {"images": len(records), "complete": sum(done)}

    def _pairs_of(self, record: dict[str, Any]) -> Sequence[tuple[int, int, int]]:
        ids = [annotation["id"] for annotation in record["annotations"]]
        return [(record["image_id"], i, j) for i, j in combinations(ids, 2)]


def _chosen(record: dict[str, Any], most: int, seed: int) -> dict[str, Any]:
    """The record without its orders, and with no more instances than are asked about.

    Instances of which nothing is visible are left out: nobody could tell which one is meant.
    """
    annotations = [a for a in record["annotations"] if a["bbox"][2] > a["bbox"][0]]
    ids = [annotation["id"] for annotation in annotations]
    if len(set(ids)) < len(ids):
        raise ValueError(f"image {record['image_id']}: two instances have the same id")
    if len(annotations) > most:
        rng = np.random.default_rng([seed, abs(record["image_id"])])
        kept = sorted(rng.choice(len(annotations), most, replace=False).tolist())
        annotations = [annotations[k] for k in kept]
    keys = ("file_name", "image_id", "height", "width")
    return {**{key: record[key] for key in keys}, "annotations": annotations}


@lru_cache(maxsize=8)
def _shown(path: str) -> bytes:
    picture, buffer = Image.fromarray(load_image(path)), BytesIO()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    picture.save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()
