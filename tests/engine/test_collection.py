"""Large collections: nothing is done twice, nothing is lost, nothing of another run gets in."""

import json

import pytest

from occ_order.commands.predict_image import free_id
from occ_order.engine import collection
from occ_order.order import io

NAMES = [f"{k:02d}" for k in range(11)]
PARTS = collection.parts_of(NAMES, 3)


def entry(name, **more):
    result = {"image_id": name, "height": 4, "width": 5, "instances": []}
    return {"name": name, "sha256": "0" * 64, "image_id": name, "result": result, **more}


def failed(name, *, again):
    return {"name": name, "error": f"{name} is damaged", "again": again}


def write(output, index, entries=None, plan=""):
    entries = [entry(name) for name in PARTS[index]] if entries is None else entries
    collection.write_part(output, index, entries, plan=plan)


def merged(output, plan=""):
    return collection.merge(output, PARTS, free_id, plan=plan)


def test_parts_in_any_order_give_one_file_in_the_order_of_the_images(tmp_path):
    assert [len(part) for part in PARTS] == [3, 3, 3, 2]
    for k in (2, 0, 3):
        write(tmp_path, k)
    assert collection.missing(tmp_path, 4) == [1]
    assert merged(tmp_path) is None
    write(tmp_path, 1, [entry("03"), failed("04", again=False), entry("05")])
    assert collection.missing(tmp_path, 4) == []
    assert merged(tmp_path) == (10, [failed("04", again=False)])
    images = io.load_results(tmp_path / "order_results.json")
    assert [image["image_id"] for image in images] == [n for n in NAMES if n != "04"]


def test_a_part_with_an_image_that_could_not_be_read_counts_and_is_made_again(tmp_path):
    for k in range(4):
        write(tmp_path, k)
    (tmp_path / "parts" / "000001.json").unlink()
    write(tmp_path, 1, [entry("03"), failed("04", again=True), entry("05")])
    assert collection.missing(tmp_path, 4) == [1]
    assert merged(tmp_path)[0] == 10
    write(tmp_path, 1)
    assert collection.missing(tmp_path, 4) == [] and merged(tmp_path) == (11, [])
    assert len(list((tmp_path / "parts").iterdir())) == 4


def test_ids_that_are_taken_become_names_and_images_of_nothing_are_left_out(tmp_path):
    """As one process does it: an image without a result has its id all the same."""
    write(tmp_path, 0, [entry("00", image_id=7), entry("01", image_id=7), entry("02", image_id=8)])
    write(tmp_path, 1, [entry("03", image_id=8), entry("04", result=None), entry("05")])
    write(tmp_path, 2)
    write(tmp_path, 3)
    assert merged(tmp_path) == (11, [])
    images = io.load_results(tmp_path / "order_results.json")
    assert [image["image_id"] for image in images] == [7, "01", 8, "03", *NAMES[5:]]


def plan_of(names=NAMES, model="a", size=1):
    images = [(name, size) for name in names]
    return collection.make_plan(images, part_size=3, settings={"model": model})


def test_other_images_or_another_model_are_refused(tmp_path):
    collection.start(tmp_path, plan_of())
    collection.start(tmp_path, plan_of())
    for other in (plan_of(names=NAMES[1:]), plan_of(model="b"), plan_of(size=2)):
        with pytest.raises(ValueError, match="holds the results of another run"):
            collection.start(tmp_path, other)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '{"format": 1}', "[" * 100_000])
def test_a_damaged_plan_is_named(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"plan\.json|another run"):
        collection.start(tmp_path, plan_of())


def changed(**more):
    return lambda content: {**content, **more}


SPOILED = {
    "nothing in it": (changed(entries=[]), "has 0 images, expected 3: '03' to '05'"),
    "another model": (changed(plan="b"), "belongs to another plan .'b', expected 'a'"),
    "no list": (changed(entries=None), "must be a list"),
    "no objects": (changed(entries=[3]), "must be a list"),
    "a list": (lambda content: [], "the top level must be an object"),
    "twice": (lambda c: {**c, "entries": c["entries"] * 2}, "has 6 images"),
    "another order": (lambda c: {**c, "entries": c["entries"][::-1]}, "has 3 images"),
    "of no name": (changed(entries=[{}]), "must be a list"),
    "no id": (changed(entries=[{"name": "03", "sha256": "0", "result": None}]), "must be a list"),
    "no digest": (
        changed(entries=[{"name": "03", "image_id": 1, "result": None}]),
        "must be a list",
    ),
    "no result": (changed(entries=[{"name": "03", "sha256": "", "image_id": 1}]), "must be a list"),
    "no error": (changed(entries=[{"name": "03", "error": 3}]), "must be a list"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_part_that_is_not_of_the_plan_is_not_merged(tmp_path, case):
    change, message = SPOILED[case]
    for k in range(4):
        write(tmp_path, k, plan="a")
    assert merged(tmp_path, "a")[1] == []
    file = tmp_path / "parts" / "000001.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=f"000001.json: .*{message}"):
        merged(tmp_path, "a")


def test_parts_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "parts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link that leads out of the folder"):
        write(tmp_path / "out", 0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("names", "size", "message"), [([], 3, "no images"), (NAMES, 0, "at least one image")]
)
def test_what_makes_no_plan(names, size, message):
    with pytest.raises(ValueError, match=message):
        collection.make_plan([(name, 1) for name in names], part_size=size, settings={})
