"""A small corpus of drawn photographs, for the tests of composed ones."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from occ_order import masks

HEIGHT, WIDTH = 150, 200


def ellipse(x, y, a, b, angle=0.0):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (x, y), (a, b), angle, 0, 360, 1, -1)
    return mask.astype(bool)


def rectangle(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def photograph(seed, painted=()):
    """A smooth background, 40 to 110, with masks painted in their colours."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 110, (4, 5, 3)).astype(np.uint8)
    image = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for mask, colour in painted:
        image[mask] = colour
    return image


def write_source(folder, photographs, occlusion=()):
    """A source of photographs.

    Args:
        folder: is made.
        photographs: [(image, split, [(category, mask, more keys of the instance)])].
        occlusion: [(image id, front, back)]; instances are numbered 100 * image id + k from 1.
    """
    (folder / "images").mkdir(parents=True)
    images, instances = [], []
    for number, (image, split, things) in enumerate(photographs, start=1):
        file = f"images/{number}.png"
        cv2.imwrite(str(folder / file), image[..., ::-1])
        size = {"width": image.shape[1], "height": image.shape[0]}
        images.append({"id": number, "file": file, "split": split, **size})
        for k, (category, mask, more) in enumerate(things, start=1):
            entry = {"id": 100 * number + k, "image_id": number, "category": category}
            instances.append({**entry, "modal": masks.encode(mask), "amodal": None, **more})
    content = {"source": folder.name, "images": images, "instances": instances}
    content["occlusion"] = [[*pair, "measured_step"] for pair in occlusion]
    content["depth_order"] = [[*pair, "measured_distinct"] for pair in occlusion]
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def objects_source(folder, *, colour=200, whole=True):
    """Eight photographs, alternately for training and validation, of one object each."""
    shapes = [
        ellipse(90, 70, 40, 25),
        ellipse(100, 75, 20, 45),
        rectangle(60, 40, 120, 100),
        ellipse(95, 80, 50, 12, 30),
    ]
    photographs = []
    for k, mask in enumerate(shapes * 2):
        more = {"amodal": masks.encode(mask), "complete": "drawn"} if whole else {}
        image = photograph(k, [(mask, colour)])
        photographs.append((image, "train" if k % 2 else "val", [(f"kind{k % 4}", mask, more)]))
    return write_source(folder, photographs)


def ordered_source(folder):
    """Six times one photograph: a wall (stuff), a box in front of a ball, a cup on the box.

    The box is measured to occlude the ball; box and cup touch and nothing is known of them; all lie
    on the wall, of which nothing is known. A plate stands alone.
    """
    wall = rectangle(0, 0, WIDTH, 110)
    box, cup = rectangle(40, 60, 80, 100), rectangle(50, 40, 70, 60)
    ball = ellipse(90, 80, 20, 18) & ~box
    plate = ellipse(150, 128, 25, 10)
    for thing in (box, cup, ball):
        wall &= ~thing
    things = [
        ("wall", wall, {"stuff": 1}),
        ("box", box, {}),
        ("cup", cup, {}),
        ("ball", ball, {}),
        ("plate", plate, {"amodal": masks.encode(plate), "complete": "drawn"}),
    ]
    colours = [(wall, 80), (box, 150), (cup, 220), (ball, 30), (plate, 180)]
    photographs = [(photograph(k, colours), "val" if k == 0 else "train", things) for k in range(6)]
    pairs = [(k, 100 * k + 2, 100 * k + 4) for k in range(1, 7)]
    return write_source(folder, photographs, pairs)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Folder with the sources "objects", "partial" (none known to be whole), "ordered", "blank"."""
    folder = tmp_path_factory.mktemp("drawn")
    objects_source(folder / "objects")
    objects_source(folder / "partial", colour=150, whole=False)
    ordered_source(folder / "ordered")
    blank = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    write_source(folder / "blank", [(blank, split, []) for split in ("train", "val")])
    return folder
