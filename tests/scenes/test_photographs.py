"""Composed photographs: what is said about them is true, and a seam says nothing."""

import copy
import dataclasses
import hashlib

import cv2
import numpy as np
import pytest

from occ_order import masks
from occ_order.formats.compose_sources import read_sources
from occ_order.order import layers as order_layers
from occ_order.order.encoding import check_depth, check_occlusion
from occ_order.scenes import Scene, to_record
from occ_order.scenes.photographs import (
    Library,
    compose,
    composer,
    layers,
    painting,
    planning,
)
from occ_order.scenes.photographs.library import read_image

SIZE = 160


def library_of(folder, *names):
    return Library.build(read_sources([folder / name for name in names], "train"))


def on(library, source):
    """The library with the photographs of one source alone to paste on."""
    chosen = copy.copy(library)
    chosen.by_source = {source: library.by_source[source]}
    return chosen


@pytest.fixture(scope="module")
def everything(drawn):
    return library_of(drawn, "objects", "partial", "ordered", "blank")


@pytest.fixture(scope="module")
def blank(everything):
    """All that has a class was pasted."""
    return on(everything, "blank")


@pytest.fixture(scope="module")
def ordered(everything):
    return on(everything, "ordered")


@pytest.fixture(scope="module")
def scenes(everything):
    return [compose(everything, seed, size=SIZE) for seed in range(80)]


@pytest.fixture
def only(monkeypatch):
    """Makes every pasted object part of a pair of one relation."""

    def choose(relation):
        weights = [float(name == relation) for name in planning._RELATIONS]
        assert sum(weights) == 1
        monkeypatch.setattr(planning, "_RELATION_WEIGHTS", weights)
        monkeypatch.setattr(planning, "_GROUP_WEIGHTS", (0, 1, 0, 0, 0, 0))

    return choose


def digest(scene):
    whole = hashlib.sha256()
    for field in dataclasses.fields(Scene):
        value = getattr(scene, field.name)
        whole.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return whole.hexdigest()


def names_of(scene):
    return [scene.names[k] for k in scene.classes]


def named(scene, start):
    """Rows of the instances whose class begins so; pasted ones begin with "kind"."""
    return [k for k, name in enumerate(names_of(scene)) if name.startswith(start)]


def pairs(rows):
    return [(i, j) for i in rows for j in rows if i < j]


# --- the same arguments give the same bytes ---------------------------------------------------


def test_same_seed_same_bytes_and_other_seed_other_bytes(everything):
    first = [digest(compose(everything, seed, size=SIZE)) for seed in range(4)]
    assert first == [digest(compose(everything, seed, size=SIZE)) for seed in range(4)]
    assert len(set(first)) == 4


def test_a_saved_library_and_another_process_give_the_same_bytes(everything, tmp_path, run_python):
    everything.save(tmp_path)
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from occ_order.scenes.photographs import Library, compose\n"
        "np.random.seed(1)\n"
        f"scene = compose(Library.load(Path({str(tmp_path)!r})), 5, size={SIZE})\n"
        "sys.stdout.write(scene.image.tobytes().hex() + scene.levels.tobytes().hex())\n"
    )
    run = run_python("-c", code, PYTHONHASHSEED="7")
    scene = compose(everything, 5, size=SIZE)
    assert run.stdout == scene.image.tobytes().hex() + scene.levels.tobytes().hex()


def test_a_library_does_not_depend_on_processes_or_the_order_of_records(drawn):
    records = read_sources([drawn / "objects", drawn / "ordered"], "train")
    backwards = {name: records[name][::-1] for name in reversed(records)}
    assert Library.build(backwards, workers=2).digest() == Library.build(records).digest()


# --- what is true about every image --------------------------------------------------------


def test_arrays_have_the_shapes_and_values_that_are_promised(scenes):
    for scene in scenes:
        n, size = len(scene.modal), scene.image.shape[:2]
        assert max(size) == SIZE and scene.image.dtype == np.uint8
        for stack in (scene.modal, scene.amodal, scene.levels):
            assert stack.shape == (n, *size)
        check_occlusion(scene.occlusion)
        check_depth(scene.depth, scene.overlap, scene.count)
        assert scene.disparity is None and scene.depth_range is None
        assert scene.classes.max(initial=0) < len(scene.names)
        assert len(scene.amodal_known) == len(scene.stuff) == n


def test_modal_masks_are_disjoint_and_inside_amodal_ones(scenes):
    for scene in scenes:
        assert scene.modal.sum(axis=0).max() <= 1
        assert scene.modal.any(axis=(1, 2)).all()
        assert not (scene.modal & ~scene.amodal).any()
        assert np.array_equal(scene.levels == 0, scene.modal)
        assert np.array_equal(scene.levels >= 0, scene.amodal)


def test_levels_number_those_that_share_a_pixel(blank):
    """Where k pasted objects overlap, their levels are 0 .. k - 1, and the region's is k."""
    for seed in range(30):
        scene = compose(blank, seed, size=SIZE)
        ranks = np.sort(np.where(scene.amodal, scene.levels, 99), axis=0)
        count = scene.amodal.sum(axis=0)
        for k in range(len(ranks)):
            assert (ranks[k][count > k] == k).all()


def test_occlusion_of_pasted_objects_is_who_lies_in_front(blank):
    """One way, both ways and not at all, also where a third object covers both."""
    found = {0: 0, 1: 0, 2: 0}
    for seed in range(60):
        scene = compose(blank, seed, size=SIZE)
        for i, j in pairs(named(scene, "kind")):
            both = scene.amodal[i] & scene.amodal[j]
            over = int((both & (scene.levels[i] < scene.levels[j])).sum())
            under = int((both & (scene.levels[i] > scene.levels[j])).sum())
            expected = [int(pixels >= 4) for pixels in (over, under)]
            assert [scene.occlusion[i, j], scene.occlusion[j, i]] == expected
            found[sum(expected)] += 1
    assert found[0] > 60 and found[1] > 50 and found[2] > 3


def test_closer_follows_from_occlusion(scenes):
    for scene in scenes:
        over = scene.occlusion == 1
        assert (scene.depth[over & (scene.occlusion.T == 0)] == 1).all()


def test_lower_is_closer_where_objects_stand_on_the_ground(blank):
    known = 0
    for seed in range(20):
        scene = compose(blank, seed, size=SIZE, perspective=1.0)
        rows = named(scene, "kind")
        bases = {k: np.flatnonzero(scene.amodal[k].any(axis=1))[-1] for k in rows}
        height = scene.image.shape[0]
        for i, j in pairs(rows):
            if scene.depth[i, j] != -1 and max(bases[i], bases[j]) < height - 1:
                assert scene.depth[i, j] == (bases[i] > bases[j])
                known += 1
    assert known > 30


def test_objects_that_would_be_hidden_are_left_out(blank):
    for seed in range(30):
        scene = compose(blank, seed, size=SIZE, count=8, max_hidden=0.4)
        for k in named(scene, "kind"):
            assert scene.modal[k].sum() >= 0.6 * scene.amodal[k].sum()


def test_layers_follow_from_the_order(scenes):
    for scene in scenes:
        mutual = (scene.occlusion == 1) & (scene.occlusion.T == 1)
        if not mutual.any():
            front, back = np.nonzero(scene.occlusion == 1)
            depth = order_layers(scene.occlusion)
            assert (depth[front] < depth[back]).all()


# --- what is known and what is not -------------------------------------------------------------


@pytest.mark.parametrize("repaste", [0.0, 1.0])
def test_unknown_pairs_are_the_regions_that_touch_and_were_not_measured(ordered, repaste):
    expected = {
        ("box", "ball"): (1, 1),
        ("ball", "box"): (0, 0),
        ("cup", "plate"): (0, -1),
        ("box", "cup"): (-1, -1),
        ("wall", "box"): (-1, -1),
        ("wall", "ball"): (-1, -1),
    }
    seen = set()
    for seed in range(25):
        scene = compose(ordered, seed, size=SIZE, count=0, repaste=repaste)
        names = names_of(scene)
        for i, j in np.argwhere(~np.eye(len(names), dtype=bool)):
            pair = names[i], names[j]
            if pair in expected:
                assert (scene.occlusion[i, j], scene.depth[i, j]) == expected[pair], pair
                seen.add(pair)
        assert np.array_equal(scene.modal, scene.amodal)
    assert seen == set(expected)


def test_without_annotated_order_regions_that_touch_are_unknown_and_others_are_apart(drawn):
    records = read_sources([drawn / "objects", drawn / "ordered"], "train")
    for record in records["ordered"]:
        del record["occlusion"], record["depth"], record["overlap"]
    library = on(Library.build(records), "ordered")
    seen = set()
    for seed in range(25):
        scene = compose(library, seed, size=SIZE, count=0, repaste=0.0)
        names = names_of(scene)
        for i, j in np.argwhere(~np.eye(len(names), dtype=bool)):
            expected = {("box", "ball"): -1, ("box", "cup"): -1, ("cup", "plate"): 0}
            if pair := expected.keys() & {(names[i], names[j])}:
                assert scene.occlusion[i, j] == expected[min(pair)]
                assert scene.depth[i, j] == -1
                seen |= pair
    assert len(seen) == 3


def test_amodal_masks_are_known_for_whole_objects_alone(drawn):
    library = library_of(drawn, "partial", "ordered")
    found = [compose(library, seed, size=SIZE) for seed in range(30)]
    for scene in found:
        assert [name == "plate" for name in names_of(scene)] == scene.amodal_known.tolist()
        record = to_record(scene, image_id=1, file_name="a")
        written = ["amodal_segmentation" in a for a in record["annotations"]]
        assert written == scene.amodal_known.tolist()
    assert any(scene.amodal_known.any() for scene in found)


def test_a_pasted_object_lies_in_front_of_the_regions_it_covers(ordered):
    covered = 0
    for seed in range(40):
        scene = compose(ordered, seed, size=SIZE, repaste=0.0)
        pasted = named(scene, "kind")
        regions = [k for name in ("wall", "box", "cup", "ball") for k in named(scene, name)]
        for i in pasted:
            for j in regions:
                share = int((scene.amodal[i] & scene.amodal[j]).sum())
                if share >= 4:
                    assert (scene.occlusion[i, j], scene.occlusion[j, i]) == (1, 0)
                    assert scene.depth[i, j] == 1
                    covered += 1
                elif not share:
                    assert scene.occlusion[i, j] == scene.occlusion[j, i] == 0
    assert covered > 60


def test_regions_pasted_onto_themselves_come_in_front_of_pasted_objects(ordered):
    in_front = 0
    for seed in range(60):
        scene = compose(ordered, seed, size=SIZE, repaste=1.0)
        pasted = named(scene, "kind")
        real = [k for name in ("box", "cup", "ball") for k in named(scene, name)]
        in_front += int((scene.occlusion[np.ix_(real, pasted)] == 1).sum())
    assert in_front > 5


@pytest.mark.parametrize("perspective", [0.0, 1.0])
def test_objects_side_by_side_touch_and_neither_occludes(blank, only, perspective):
    only("beside")
    found = 0
    for seed in range(40):
        scene = compose(blank, seed, size=SIZE, count=2, perspective=perspective)
        for i, j in pairs(named(scene, "kind")):
            if masks.bordering(scene.modal[i], scene.modal[j]):
                assert not (scene.amodal[i] & scene.amodal[j]).any()
                assert scene.occlusion[i, j] == scene.occlusion[j, i] == 0
                assert scene.depth[i, j] == -1
                found += 1
    assert found > 15


def test_interlocked_objects_occlude_each_other(blank, only):
    only("interlocked")
    found = 0
    for seed in range(40):
        scene = compose(blank, seed, size=SIZE, count=2, perspective=0.0)
        for i, j in pairs(named(scene, "kind")):
            if scene.occlusion[i, j] == scene.occlusion[j, i] == 1:
                both = scene.amodal[i] & scene.amodal[j]
                assert (both & scene.modal[i]).any() and (both & scene.modal[j]).any()
                assert scene.depth[i, j] == -1
                found += 1
    assert found > 15


# --- seams -------------------------------------------------------------------------------------


def rim(scene, k):
    """Share of an object's own colour in its outermost and its next pixels, two numbers.

    Where nothing else is near, on the blank ground of 60; None where too little can be seen.
    """
    grey = scene.image.astype(float).mean(axis=2)
    kernel = np.ones((3, 3), np.uint8)
    shells = [scene.modal[k].astype(np.uint8)]
    for _ in range(4):
        shells.append(cv2.erode(shells[-1], kernel))
    others = [j for j in range(len(scene.modal)) if j != k and not scene.stuff[j]]
    near = cv2.dilate(scene.amodal[others].any(axis=0).astype(np.uint8), np.ones((9, 9), np.uint8))
    rings = [(shells[n] > shells[n + 1]) & (near == 0) for n in (0, 1)]
    if min(ring.sum() for ring in rings) < 20 or shells[4].sum() < 30:
        return None
    colour = grey[shells[4] > 0].mean()
    if abs(colour - 60) < 40:
        return None
    return [(grey[ring].mean() - 60) / (colour - 60) for ring in rings]


def test_the_rim_of_an_object_does_not_tell_whether_it_lies_in_front(blank, monkeypatch):
    monkeypatch.setattr(composer, "develop", lambda image, rng: image)
    monkeypatch.setattr(painting.Brush, "_cast", lambda brush, layer: None)
    front, back = [], []
    for seed in range(160):
        scene = compose(blank, seed, size=SIZE)
        rows = named(scene, "kind")
        for k in rows:
            over, under = scene.occlusion[k, rows] == 1, scene.occlusion[rows, k] == 1
            found = rim(scene, k) if over.any() != under.any() else None
            if found:
                (front if over.any() else back).append(found)
    assert min(len(front), len(back)) > 30
    middle = np.mean(front, axis=0), np.mean(back, axis=0)
    assert np.abs(middle[0] - middle[1]).max() < 0.02
    assert middle[0][0] < 0.9  # feathered


def test_regions_in_their_own_place_are_painted_as_all_others():
    image, mask = np.full((20, 20, 3), 200, np.uint8), np.zeros((20, 20), np.uint8)
    mask[3:17, 3:17] = 255
    painted = []
    for region in (0, layers.PASTED):
        brush = painting.Brush(np.full((40, 40, 3), 60, np.uint8), np.random.default_rng(3))
        brush.paint(layers.Layer(image, mask, 0, True, 10, 10, region))
        painted.append(brush.canvas)
    assert np.array_equal(*painted) and painted[0].std() > 10


@pytest.mark.parametrize("damage", ["cut off", "another size"])
def test_a_photograph_that_is_damaged_is_named(tmp_path, damage):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    file = tmp_path / "photo.jpg"
    cv2.imwrite(str(file), pixels)
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-900])
    with pytest.raises(
        ValueError, match=r"photo\.jpg: (not a readable image|has height and width)"
    ):
        read_image(str(file), 64, 48 if damage == "cut off" else 64)
