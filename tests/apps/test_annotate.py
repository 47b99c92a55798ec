"""Annotation: who agrees with whom, what survives an interruption, what the files then say."""

import http.client
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occ_order import masks, scenes
from occ_order.apps.annotate.agreement import agreement_with_others, task_agreement
from occ_order.apps.annotate.answers import Answer, AnswerLog, checked_answer, checked_name, settle
from occ_order.apps.annotate.guesses import read_guesses
from occ_order.apps.annotate.project import Project
from occ_order.apps.annotate.protocol import INSTAORDER, Protocol
from occ_order.apps.annotate.selection import stack
from occ_order.apps.annotate.server import Server
from occ_order.cli import main, verb_parser
from occ_order.commands.annotate import protocol_of
from occ_order.formats import load_instaorder
from occ_order.formats.convert import DataSet, read_dataset, write_dataset
from occ_order.formats.validate import validate
from occ_order.order.baselines import bottom_edge_order
from occ_order.order.io import results_image, save_results

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Protocol(pairs="all", ranges=True)


@pytest.fixture
def data(tmp_path, make_records, categories):
    """One image with three instances and one with two: four pairs."""
    records = make_records(tmp_path / "images", 2)
    for record, count in zip(records, (3, 2), strict=True):
        record["annotations"] = record["annotations"][:count]
        for key in ("occlusion", "depth", "overlap", "count"):
            del record[key]
    return DataSet(records, categories, str(tmp_path / "images"))


@pytest.fixture
def project(data, tmp_path):
    """Every pair is asked about, with ranges of depth."""
    return Project(data, tmp_path / "asked", EVERYTHING)


@pytest.fixture
def quick(data, tmp_path):
    """As it is asked where nothing is said: touching pairs, here one of each image, no ranges."""
    return Project(data, tmp_path / "asked")


def quiz_file(path, *pairs, **words):
    """Right answers: the first hides a part of the second and is closer, apart."""
    words = {"occlusion": "first", "depth": "first", "range": "distinct", **words}
    words = {key: word for key, word in words.items() if word is not None}
    keys = ("image_id", "first", "second")
    lines = [{**dict(zip(keys, pair, strict=True)), "annotator": "x", **words} for pair in pairs]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def say(project, annotator, occlusion="first", depth="first", range="distinct"):
    """A person answers the next pair that they are asked about."""
    pair = project.next_pair(annotator)
    project.answer([Answer(*pair, annotator, occlusion, depth, range)])
    return pair


# --- agreement


@pytest.mark.parametrize(
    ("values", "agree", "expected"),
    [
        ([], 2, (None, 0)),
        (["a"], 2, (None, 1)),
        (["a"], 1, ("a", 1)),
        (["a", "a", "b"], 2, ("a", 2)),
        (["a", "b", "a"], 2, ("a", 3)),
        (["a", "b", "c"], 2, (None, 3)),
        (["a", "b", "c", "c", "a"], 2, ("c", 4)),
        (["a", "b", "a", "b", "a"], 3, ("a", 5)),
    ],
)
def test_a_pair_is_settled_when_enough_people_agree(values, agree, expected):
    assert settle(values, agree=agree) == expected


def test_occlusion_and_depth_are_settled_apart(project):
    pair = project.pairs[0]
    for name, occlusion, depth in (("a", "first", "first"), ("b", "first", "second")):
        project.answer([Answer(*pair, name, occlusion, depth, "distinct")])
    assert not project.settled(pair)
    (record,) = project.annotated_records()
    assert "depth" not in record
    project.answer([Answer(*pair, "c", "none", "second", "distinct")])
    assert project.settled(pair)
    (record,) = project.annotated_records()
    assert record["depth"][0, 1] == 0 and record["count"][0, 1] == 3


def test_a_depth_answer_is_the_relation_with_its_range(project):
    pair = project.pairs[0]
    for name, range in (("a", "distinct"), ("b", "overlap")):
        project.answer([Answer(*pair, name, "none", "first", range)])
    assert not project.settled(pair)
    project.answer([Answer(*pair, "c", "none", "first", "overlap")])
    record = project.annotated_records()[0]
    assert record["overlap"][0, 1] == 1 and record["count"][0, 1] == 3


def test_nobody_is_asked_twice_and_settled_pairs_not_at_all(project):
    assert [say(project, "a") for _ in range(4)] == project.pairs
    assert project.next_pair("a") is None
    assert say(project, "b") == project.pairs[0]
    assert project.next_pair("c") == project.pairs[1]
    assert project.progress("b") == {
        "pairs": 4, "settled": 1, "answered": 1, "left": 3, "seconds_left": None,
        "quiz": None, "dismissed": False, "can_undo": True,
    }  # fmt: skip


def test_a_correction_replaces_the_answer_and_keeps_its_place(project):
    pair = say(project, "a", "first")
    say(project, "b", "second")
    assert not project.settled(pair)
    project.answer([Answer(*pair, "a", "second", "first", "distinct")])
    assert project.settled(pair)
    assert list(project.log.said(pair, "occlusion")) == ["a", "b"]
    project.answer([Answer(*pair, "a", "both", "first", "distinct")])
    assert not project.settled(pair)


def test_the_last_answer_is_taken_back_and_shown_again(project):
    first, second = say(project, "a"), say(project, "a", "both", "equal", "overlap")
    earlier = {"occlusion": "both", "depth": "equal", "range": "overlap"}
    assert project.undo("a") == [second] and project.next_pair("a") == second
    assert project.question([second], "a")["pairs"][0]["earlier"] == earlier
    assert project.question([second], "b")["pairs"][0]["earlier"] == {}
    assert project.log.said(second, "depth") == {}
    assert project.undo("a") == [first] and project.undo("a") == [] == project.undo("b")
    assert not project.can_undo("a") and project.log.answered_by("a") == set()
    again = AnswerLog(project.log.path)  # the file says so, too
    assert again.answered_by("a") == set() and again.turns("a") == []
    assert again.said_last(second, "a").depth == "equal"


def test_an_answer_taken_back_ends_an_agreement_and_keeps_its_place(project):
    pair = say(project, "a")
    say(project, "b")
    assert project.settled(pair) and project.undo("a") == [pair]
    assert not project.settled(pair)
    project.answer([Answer(*pair, "c", "first", "first", "overlap"),
                    Answer(*pair, "a", "first", "first", "distinct")])  # fmt: skip
    assert list(project.said(pair, "depth")) == ["a", "b", "c"]
    assert project.decided(pair, "depth") == (("first", "distinct"), 2)


def test_ten_instances_at_most_the_same_ones_every_time(tmp_path, make_records, categories):
    records = make_records(tmp_path / "images", 1)
    mask = records[0]["annotations"][0]
    records[0]["annotations"] = [{**mask, "id": k} for k in range(14)]
    records[0]["annotations"].append({**mask, "id": 99, "bbox": [0.0] * 4})  # nothing visible
    data = DataSet(records, categories, None)
    first, again = (Project(data, tmp_path / "asked", EVERYTHING) for _ in range(2))
    assert len(first.pairs) == 45 and first.pairs == again.pairs
    assert all(99 not in pair for pair in first.pairs)
    assert Project(data, tmp_path / "x", Protocol(seed=1)).pairs != first.pairs
    assert len(Project(data, tmp_path / "x", Protocol(max_instances=3)).pairs) == 3


# --- what is asked, and whom


def test_the_protocol_of_instaorder_is_that_of_the_paper():
    """Section 3.1: "We omit instances smaller than 25 x 25 pixels"; "we asked two random workers
    to annotate every pairwise ordering"; "Only annotators who passed all quizzes were allowed to
    participate"; 3.3: "we randomly selected ten instances if an image included more"; supplement
    A3.2: "We provide a guideline to annotators", "randomly shuffled images for each annotator".
    """
    assert Protocol(
        tasks=("occlusion", "depth"), ranges=True, pairs="all", agree=2, min_size=25,
        max_instances=10, shuffle=True, guideline=True, quiz_share=1.0, whole_image=False,
    ) == INSTAORDER  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Protocol()),
        ("--agree 1 --ranges", Protocol(agree=1, ranges=True)),
        ("--tasks depth --pairs all --gap 0", Protocol(tasks=("depth",), pairs="all", gap=0)),
        (
            "--min-size 25 --shuffle --guideline",
            Protocol(min_size=25, shuffle=True, guideline=True),
        ),
        ("--protocol instaorder --quiz .", INSTAORDER),
        (
            "--protocol instaorder --quiz . --no-shuffle --seed 0",
            replace(INSTAORDER, shuffle=False),
        ),
        ("--protocol instaorder --quiz . --quiz-share .5", replace(INSTAORDER, quiz_share=0.5)),
    ],
)
def test_each_rule_is_an_option_of_its_own(words, expected):
    needed = ["--from", "labelme", "--input", ".", "--output", "asked"]
    assert protocol_of(verb_parser("annotate").parse_args([*needed, *words.split()])) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"agree": 0}, "agree must be >= 1, got 0"),
        ({"max_instances": 1}, "max_instances must be >= 2"),
        ({"min_size": -1}, "min_size must be >= 0"),
        ({"gap": -1}, "gap must be >= 0"),
        ({"pairs": "some"}, "pairs must be one of"),
        ({"tasks": ()}, "tasks must be some of"),
        ({"tasks": ("colour",)}, "tasks must be some of"),
        ({"quiz_share": 1.1}, "quiz_share must be in 0 .. 1"),
    ],
)
def test_a_protocol_that_cannot_be(words, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**words)


def squares(tmp_path, *boxes):
    """One record of 40 x 40 pixels whose masks are boxes (x0, y0, x1, y1), with ids from 1."""
    shapes = np.zeros((len(boxes), 40, 40), bool)
    for shape, (x0, y0, x1, y1) in zip(shapes, boxes, strict=True):
        shape[y0:y1, x0:x1] = True
    path = tmp_path / "squares.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    annotations = [
        {"id": k, "category_id": 1, "bbox": list(map(float, box)), "segmentation": masks.encode(m)}
        for k, (box, m) in enumerate(zip(boxes, shapes, strict=True), start=1)
    ]
    record = {"file_name": str(path), "image_id": 1, "height": 40, "width": 40}
    return DataSet([{**record, "annotations": annotations}], [{"id": 1, "name": "box"}], None)


@pytest.mark.parametrize(("gap", "pairs"), [(0, [2]), (2, [2]), (3, [2, 3]), (20, [2, 3, 4])])
def test_pairs_that_touch_across_a_gap_are_asked_about(tmp_path, gap, pairs):
    """From box 1 it is no pixel to box 2, three to box 3 and nineteen to box 4."""
    data = squares(tmp_path, (10, 10, 20, 20), (20, 10, 25, 20), (10, 23, 20, 25), (10, 39, 20, 40))
    project = Project(data, tmp_path / "asked", Protocol(gap=gap))
    assert [pair[2] for pair in project.pairs if pair[1] == 1] == pairs


def test_small_instances_and_images_with_a_single_one_are_left_out(tmp_path, data):
    """25 x 25 pixels are kept, 24 x 26 are one too few; a thin one of 16 x 40 has enough."""
    kept, small, thin = (0, 0, 25, 25), (0, 0, 24, 26), (24, 0, 40, 40)
    data = squares(tmp_path, kept, small, thin)
    small = Protocol(min_size=25, pairs="all")
    assert Project(data, tmp_path / "a", small).pairs == [(1, 1, 3)]
    data.records[0]["annotations"].pop()
    left = Project(data, tmp_path / "a", small)
    assert left.records == [] and left.pairs == []
    assert Project(data, tmp_path / "a", Protocol(pairs="all")).pairs == [(1, 1, 2)]


def test_each_annotator_has_an_order_of_their_own(data, tmp_path):
    shuffling = replace(EVERYTHING, shuffle=True)
    orders = {}
    for name in "abcdefgh":
        project = Project(data, tmp_path / name, shuffling)
        orders[name] = [say(project, name) for _ in range(4)]
        assert sorted(orders[name]) == sorted(project.pairs)
        images = [pair[0] for pair in orders[name]]
        assert images in ([1, 1, 1, 2], [2, 1, 1, 1])  # an image is looked at once
        again = Project(data, tmp_path / f"{name} again", shuffling)
        assert [say(again, name) for _ in range(4)] == orders[name]
    assert len({tuple(order) for order in orders.values()}) > 2
    assert len({order[0][0] for order in orders.values()}) == 2


def test_skipped_pairs_come_last(project):
    first, second, *others = project.pairs
    project.skip("a", [second, first])
    assert [say(project, "a") for _ in range(4)] == [*others, second, first]
    assert project.next_pair("a") is None and project.next_pair("b") == first


def test_occlusion_and_depth_may_be_asked_apart(data, tmp_path):
    """Two runs over one folder, as InstaOrder had workers of its own for each."""
    for task, words in (("occlusion", {"occlusion": "first"}), ("depth", {"depth": "second"})):
        project = Project(data, tmp_path / "asked", Protocol(tasks=(task,), agree=1))
        for pair in project.pairs:
            assert project.next_pair("a") == pair
            project.answer([Answer(*pair, "a", **words)])
        assert project.next_pair("a") is None and all(map(project.settled, project.pairs))
    project.undo("a")  # the depth of the last pair, not its occlusion
    one, two = project.annotated_records()
    assert "occlusion" in one and "depth" in one and "occlusion" in two and "depth" not in two


def test_what_nobody_can_tell_is_settled_and_unknown(project, data, tmp_path):
    for name in "ab":
        for pair in project.pairs:
            hides = "unclear" if pair == project.pairs[0] else "first"
            project.answer([Answer(*pair, name, hides, "unclear")])
    assert project.next_pair("c") is None
    one, two = project.annotated_records()
    assert one["occlusion"].tolist() == [[0, -1, 1], [-1, 0, 1], [0, 0, 0]]
    assert "depth" not in one and two["occlusion"].tolist() == [[0, 1], [0, 0]]
    project.write()
    folder = tmp_path / "asked"
    entries = json.loads((folder / "instaorder.json").read_text())["annotations"]
    assert [entry["image_id"] for entry in entries] == [2]  # cannot say "unknown"
    table = folder / "order.csv"
    read = read_dataset("coco", folder / "instances.json", order=table, images=data.image_root)
    assert [record["occlusion"].tolist() for record in read.records] == [
        one["occlusion"].tolist(), two["occlusion"].tolist()
    ]  # fmt: skip


def test_a_depth_without_range_agrees_with_any_and_keeps_the_common_one(quick):
    for pair, ranges in zip(
        quick.pairs, (("overlap", None), ("distinct", "distinct")), strict=True
    ):
        for name, range in zip("ab", ranges, strict=True):
            quick.answer([Answer(*pair, name, "none", "first", range)])
    assert [quick.decided(pair, "depth") for pair in quick.pairs] == [
        (("first", None), 2), (("first", "distinct"), 2)
    ]  # fmt: skip


# --- the quiz


def test_who_fails_the_quiz_is_asked_no_more_and_does_not_count(data, tmp_path):
    project = Project(data, tmp_path / "asked", replace(EVERYTHING, quiz_share=0.5, agree=1))
    quiz = project.pairs[2:]
    project.set_quiz(quiz_file(tmp_path / "quiz.jsonl", *quiz))
    assert [say(project, "good"), say(project, "good", "none")] == quiz  # one of two is enough
    assert project.next_pair("good") == project.pairs[0] and not project.dismissed("good")
    assert not project.can_undo("good") and project.undo("good") == []
    with pytest.raises(ValueError, match="the quiz is over: its answers stay"):
        project.answer([Answer(*quiz[1], "good", "first", "first", "distinct")])
    assert say(project, "bad", "none") == quiz[0] and project.can_undo("bad")
    assert not project.dismissed("bad")
    say(project, "bad", "first", "equal")
    assert project.dismissed("bad") and project.next_pair("bad") is None
    assert project.progress("bad")["quiz"] == {"pairs": 2, "answered": 2, "right": 0}
    assert project.decided(quiz[0], "occlusion") == ("first", 1)
    again = Project(data, tmp_path / "asked", project.protocol)
    again.set_quiz(tmp_path / "quiz.jsonl")
    assert again.dismissed("bad") and not again.dismissed("good")


def test_a_quiz_pair_is_asked_about_even_if_it_does_not_touch(data, tmp_path):
    project = Project(data, tmp_path / "asked", Protocol(gap=0, agree=1))
    (apart, *_) = set(Project(data, tmp_path / "x", EVERYTHING).pairs) - set(project.pairs)
    project.set_quiz(quiz_file(tmp_path / "quiz.jsonl", apart))
    assert project.next_pair("a") == apart
    project.answer([Answer(*apart, "a", "first", "first")])  # no ranges are asked
    assert not project.dismissed("a") and project.next_pair("a") != apart


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"occlusion": "unclear"}, "expected one right answer about occlusion, got"),
        ({"range": None}, r"expected one right answer about depth, got .*'first', None"),
        ({"occlusion": None}, r"expected one right answer about occlusion, got \[\]"),
        ({"first": 77}, "holds an answer about image 1, instances"),
        ({"annotator": ""}, "quiz.jsonl, line 1: the name"),
    ],
)
def test_a_quiz_without_right_answers_is_refused(project, tmp_path, words, message):
    path = quiz_file(tmp_path / "quiz.jsonl", project.pairs[0], **words)
    with pytest.raises(ValueError, match=message):
        project.set_quiz(path)


def test_right_answers_may_have_been_corrected(project, data, tmp_path):
    """The expert took one back for good, and answered another one anew."""
    expert = Project(data, tmp_path / "expert", EVERYTHING)
    say(expert, "x", "none")
    say(expert, "x", "none")
    for _ in range(2):
        expert.undo("x")
    pair = say(expert, "x", "first")
    project.set_quiz(expert.log.path)
    assert project.quiz == {pair: {"occlusion": "first", "depth": ("first", "distinct")}}


def test_a_quiz_that_is_empty_or_contradicts_itself_is_refused(project, tmp_path):
    path = quiz_file(tmp_path / "quiz.jsonl")
    with pytest.raises(ValueError, match=r"quiz\.jsonl: holds no answer"):
        project.set_quiz(path)
    lines = [quiz_file(path, project.pairs[0], annotator=n, occlusion=o).read_text()
             for n, o in (("x", "first"), ("y", "none"))]  # fmt: skip
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=r"got \['first', 'none'\]"):
        project.set_quiz(path)
    with pytest.raises(FileNotFoundError):
        project.set_quiz(tmp_path / "none.jsonl")


# --- agreement and time


def test_agreement_by_hand():
    """Pairs of answers that are equal: 1 of 1, 0 of 1, 1 of 3 and 0 of 0; so 2 of 5."""
    said = [{"a": "first", "b": "first"}, {"a": "first", "b": "none"},
            {"a": "none", "b": "both", "c": "none"}, {"c": "unclear"}, {}]  # fmt: skip
    assert task_agreement(said) == {
        "pairs": 4, "settled": 2, "unclear": 0, "count": {"2": 1, "3": 1},
        "first_agree": 1 / 3, "pairwise": 2 / 5,
    }  # fmt: skip
    assert task_agreement(said, agree=1)["unclear"] == 1
    assert task_agreement([])["first_agree"] is None and task_agreement([])["pairwise"] is None
    assert agreement_with_others(said, "a") == 2 / 4  # b: yes, no, no; c: yes
    assert agreement_with_others(said, "b") == 1 / 4
    assert agreement_with_others(said, "x") is None


def test_agreement_is_written_with_seconds_and_the_time_left(project, tmp_path):
    first, second, *_ = project.pairs
    answers = [(first, "a", 2.0), (second, "a", 4.0), (first, "b", 1.0)]
    for pair, name, seconds in answers:
        project.answer([Answer(*pair, name, "none", "equal", "overlap", seconds=seconds)])
    assert project.progress("a")["seconds_left"] == 3.0 * 2
    project.write()
    found = json.loads((tmp_path / "asked" / "agreement.json").read_text())
    assert found["occlusion"]["count"] == {"2": 1} and found["depth"]["first_agree"] == 1
    assert found["annotators"] == {
        name: {"answers": count, "seconds": seconds, "agreement": {"occlusion": 1, "depth": 1},
               "quiz": None, "dismissed": False}
        for name, count, seconds in (("a", 2, 3.0), ("b", 1, 1.0))
    }  # fmt: skip
    lines = (tmp_path / "asked" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [2.0, 4.0, 1.0]
    assert all(datetime.fromisoformat(json.loads(line)["time"]).tzinfo for line in lines)


# --- guesses


def guesses_of(record, path, **changes):
    """Results for a record: its instances reversed, with other ids; the first hides the last."""
    shapes = masks.decode_all(
        [a["segmentation"] for a in record["annotations"]], record["height"], record["width"]
    )[::-1]
    occlusion = np.zeros((len(shapes),) * 2, np.int8)
    occlusion[-1, 0] = 1
    depth = np.full_like(occlusion, -1)
    depth[-1, 0], depth[0, -1] = 1, 0
    image = results_image(
        image_id=record["image_id"], height=record["height"], width=record["width"],
        modal=shapes, classes=[1] * len(shapes), scores=[1.0] * len(shapes),
        occlusion=occlusion, depth=depth, overlap=np.where(depth < 0, -1, 1),
    )  # fmt: skip
    save_results(path, [{**image, **changes}])
    return path


def test_guesses_are_found_by_masks_whatever_the_ids(project, tmp_path):
    record = project.records[0]
    found = read_guesses(guesses_of(record, tmp_path / "guess.json"), project.records)
    (one, two, three) = (annotation["id"] for annotation in record["annotations"])
    assert found == {
        (1, one, two): {"occlusion": "none"},
        (1, one, three): {"occlusion": "first", "depth": "first", "range": "overlap"},
        (1, two, three): {"occlusion": "none"},
    }
    named = guesses_of(record, tmp_path / "named.json", image_id=2, file_name="image 1.png")
    assert read_guesses(named, project.records) == found


def test_guesses_of_other_images_are_refused(project, tmp_path):
    path = guesses_of(project.records[0], tmp_path / "guess.json", image_id=9)
    with pytest.raises(ValueError, match=r"guess\.json: holds none of the images"):
        read_guesses(path, project.records)
    path = guesses_of(project.records[0], tmp_path / "guess.json")
    wide = [{**project.records[0], "width": 81}]
    with pytest.raises(ValueError, match=r"image 1: expected \(64, 81\) .*got \(64, 80\)"):
        read_guesses(path, wide)


def test_places_of_a_guess_run_from_front_to_back(project):
    """The third is closer than the first, which is as far as the second."""
    words = [{"depth": "equal"}, {"depth": "second"}, {"depth": "second"}]
    pairs = project.image_pairs(project.pairs[0])
    project.guesses = dict(zip(pairs, words, strict=True))
    assert project.question(pairs, "a")["ranks"] == [1, 1, 0]
    del project.guesses[pairs[0]]
    assert project.question(pairs, "a")["ranks"] is None


# --- how many keys it takes


def keystrokes(project, truth):
    """Keys that somebody presses who knows the truth: Enter, after what is wrong in a guess.

    The page goes on by itself after the last task (tests in a browser), so that nobody presses
    Enter who has answered each of them.
    """
    count, tasks = 0, project.protocol.tasks
    for pair in project.pairs:
        guess = project.guesses.get(pair, {})
        wrong = sum(guess.get(task) != truth[pair][task] for task in tasks)
        count += wrong + (wrong < len(tasks))
    return count


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    """16 generated scenes, 12 with nine instances and 4 with eight, which have 544 pairs."""
    folder, records = tmp_path_factory.mktemp("sixteen"), []
    for number in range(1, 17):
        scene = scenes.generate(number, size=(120, 160), num_instances=9 if number < 13 else 8)
        path = folder / f"{number}.png"
        Image.fromarray(scene.image).save(path)
        records.append(scenes.to_record(scene, image_id=number, file_name=str(path)))
    return DataSet(records, [{"id": k + 1, "name": n} for k, n in enumerate(scenes.CLASSES)], None)


def words_of(data, path, rule=None):
    """What the data say about each pair, or what a rule over masks guesses, as words."""
    images = []
    for record in data.records:
        shapes, order = stack(record), (record["occlusion"], record["depth"])
        if rule is not None:
            order = rule(shapes), rule(shapes, order="depth")
        images.append(
            results_image(
                image_id=record["image_id"], height=record["height"], width=record["width"],
                modal=shapes, classes=[1] * len(shapes), scores=[1.0] * len(shapes),
                occlusion=order[0], depth=order[1],
            )
        )  # fmt: skip
    save_results(path, images)
    return read_guesses(path, data.records)


def test_keystrokes_for_sixteen_images_with_544_pairs(sixteen, tmp_path):
    """Four keys a pair they were, 2,176 in all: occlusion, depth, range, Enter."""
    truth = words_of(sixteen, tmp_path / "truth.json")
    guess = words_of(sixteen, tmp_path / "guess.json", rule=bottom_edge_order)
    assert len(truth) == 544
    alone = Protocol(agree=1)
    counts = {}
    for name, guesses, protocol in (
        ("every pair, ranges", {}, EVERYTHING),
        ("touching", {}, alone),
        ("touching, occlusion", {}, replace(alone, tasks=("occlusion",))),
        ("touching, guessed by a rule", guess, alone),
        ("touching, guessed right", truth, alone),
    ):
        project = Project(sixteen, tmp_path, protocol)
        project.guesses = guesses
        counts[name] = keystrokes(project, truth)
    assert counts == {
        "every pair, ranges": 1088,
        "touching": 440,
        "touching, occlusion": 220,
        "touching, guessed by a rule": 340,
        "touching, guessed right": 220,
    }
    arrows = sum(int(record["occlusion"].sum()) for record in sixteen.records)
    assert arrows + 16 == 257  # whole images, occlusion: a drag for each, and Enter


# --- the files


def test_the_files_are_what_the_readers_accept(project, data, tmp_path):
    answers = [("both", "equal", "overlap"), ("second", "second", "distinct"),
               ("none", "first", "distinct"), ("first", "first", "overlap")]  # fmt: skip
    for name in ("a", "b"):
        for words in answers:
            say(project, name, *words)
    assert project.write() == {"images": 2, "complete": 2}
    folder = tmp_path / "asked"
    files = folder / "instaorder.json", folder / "instances.json"
    checked = validate(files[0], instances=files[1], images=data.image_root)
    assert checked.errors == []
    one, two = load_instaorder(*files, data.image_root)
    assert one["occlusion"].tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert one["depth"].tolist() == [[-1, 2, 0], [2, -1, 1], [1, 0, -1]]
    assert one["overlap"].tolist() == [[-1, 1, 0], [1, -1, 0], [0, 0, -1]]
    assert one["count"].tolist() == [[-1, 2, 2], [2, -1, 2], [2, 2, -1]]
    assert two["occlusion"].tolist() == [[0, 1], [0, 0]]
    first = data.records[0]["annotations"][0]
    size = data.records[0]["height"], data.records[0]["width"]
    assert one["annotations"][0]["id"] == first["id"]
    assert (
        masks.decode(one["annotations"][0]["segmentation"], *size)
        == masks.decode(first["segmentation"], *size)
    ).all()


def test_the_number_of_people_asked_is_kept(project, tmp_path):
    """The second image: a says first, b says none, c says first."""
    pair = project.pairs[3]
    for name, occlusion in (("a", "first"), ("b", "none"), ("c", "first")):
        project.answer([Answer(*pair, name, occlusion, "first", "distinct")])
    project.write()
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert entry["occlusion"] == [{"order": "0<1", "count": 3}]
    assert entry["depth"] == [{"order": "0<1", "count": 2, "overlap": False}]


def test_an_open_pair_is_never_written_as_no_occlusion(project, tmp_path):
    for name in ("a", "b"):
        say(project, name, "first")
        say(project, name, "none" if name == "a" else "both")
    assert project.write() == {"images": 1, "complete": 0}
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert "occlusion" not in entry and [item["order"] for item in entry["depth"]] == ["0<1", "0<2"]


def test_nothing_answered_gives_readable_files(project, tmp_path):
    assert project.write() == {"images": 0, "complete": 0}
    files = [tmp_path / "asked" / name for name in ("instaorder.json", "instances.json")]
    assert load_instaorder(*files, ".") == []


OLD_LOG = """\
{"image_id": 1, "first": 1001, "second": 1002, "annotator": "Ada", "occlusion": "first", \
"depth": "first", "range": "overlap"}
{"image_id": 1, "first": 1001, "second": 1002, "annotator": "Bob", "occlusion": "none", \
"depth": "first", "range": "overlap"}
{"image_id": 1, "first": 1001, "second": 1002, "annotator": "Ada", "occlusion": "none", \
"depth": "first", "range": "overlap"}
"""
"""As the program wrote it before there were times and sources; the third line is a correction."""


@pytest.mark.parametrize("protocol", [Protocol(), EVERYTHING])
def test_old_answers_are_read_added_to_and_exported(data, tmp_path, protocol):
    path = tmp_path / "asked" / "answers.jsonl"
    path.parent.mkdir()
    path.write_text(OLD_LOG)
    project = Project(data, tmp_path / "asked", protocol)
    pair = (1, 1001, 1002)
    assert project.settled(pair) and project.decided(pair, "depth") == (("first", "overlap"), 2)
    project.write()
    folder = tmp_path / "asked"
    files = {"instances": folder / "instances.json", "images": data.image_root}
    for format, file, more in (
        ("instaorder", "instaorder.json", files),
        ("coco", "instances.json", {"images": data.image_root, "order": folder / "order.csv"}),
    ):
        (record,) = read_dataset(format, folder / file, **more).records
        assert record["depth"][0, 1] == 1 and record["overlap"][0, 1] == 1
        assert record["count"][0, 1] == 2
    assert project.undo("Ada") == [pair] and not project.settled(pair)
    assert path.read_text().startswith(OLD_LOG)


# --- interruptions and damage


def test_it_goes_on_where_it_stopped(project, data, tmp_path):
    for _ in range(2):
        say(project, "a")
    again = Project(data, tmp_path / "asked", EVERYTHING)
    assert again.next_pair("a") == project.pairs[2] and again.next_pair("b") == project.pairs[0]


def test_a_half_written_line_is_cut_off(project, data, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    whole = path.read_bytes()
    for length in (1, 10, len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        again = Project(data, tmp_path / "asked", EVERYTHING)
        assert again.next_pair("a") == project.pairs[1]
    say(again, "a")
    assert path.read_bytes().startswith(whole)
    assert len(path.read_text().splitlines()) == 2


def test_a_half_written_line_that_comes_while_the_program_runs_is_cut_off(project, data, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"image_id": 3, "first": 9, "sec')
    say(project, "a")
    assert len(path.read_bytes().splitlines()) == 2
    assert Project(data, tmp_path / "asked", EVERYTHING).next_pair("a") == project.pairs[2]


def test_a_full_disk_costs_one_answer_and_is_told(server, project, data, tmp_path, full_disk):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    before = path.read_bytes()
    with full_disk(len(before) + 20):  # half a line fits
        status, body, _ = request(server, "POST", "/answers", answer_of(project), **JSON)
        assert status == 507
        error = json.loads(body)["error"]
        assert "answers.jsonl: the answer could not be written" in error
        assert request(server, "POST", "/write", "{}", **JSON)[0] == 507
    assert path.read_bytes() == before
    for name in ("b", "c"):
        body = answer_of(project, annotator=name)
        assert request(server, "POST", "/answers", body, **JSON)[0] == 200
    assert len(path.read_bytes().splitlines()) == 3
    again = Project(data, tmp_path / "asked", EVERYTHING)
    assert list(again.log.said(project.pairs[0], "depth")) == ["a", "b", "c"]


def test_two_programs_take_up_what_the_other_adds(project, data, tmp_path):
    say(project, "a")
    other = Project(data, tmp_path / "asked", EVERYTHING)
    pair = say(other, "b")
    assert pair == project.pairs[0] and not project.settled(pair)
    say(project, "c")  # finds b's answer in the file
    assert project.settled(pair)
    assert list(project.log.said(pair, "occlusion")) == ["a", "b", "c"]
    assert len((tmp_path / "asked" / "answers.jsonl").read_bytes().splitlines()) == 3


def test_a_log_that_was_cut_or_spoiled_meanwhile_is_not_written_over(project, tmp_path):
    say(project, "a")
    path = tmp_path / "asked" / "answers.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 2: an answer must be"):
        say(project, "a")
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"answers\.jsonl: .*it has become shorter"):
        say(project, "a")
    assert path.read_bytes() == b""


def test_the_folder_is_checked_before_anything_is_asked(data, tmp_path):
    (tmp_path / "file").write_text("")
    project = Project(data, tmp_path / "file" / "asked")
    with pytest.raises(OSError, match=r"the output folder .*asked' cannot be written"):
        Server(project)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x", "line 1: Expecting value"),
        ("[]", "line 1: an answer must be an object"),
        ('{"image_id": 1}', "line 1: an answer must be an object with the keys"),
        ('{"image_id": 1, "first": 1, "second": 2, "annotator": "a"}', "line 1: an answer must be"),
        ("\xff", "line 1: "),
        ("[" * 100_000, "line 1: "),
    ],
)
def test_a_damaged_log_is_named(tmp_path, line, message):
    (tmp_path / "answers.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(ValueError, match=f"answers.jsonl, {message}"):
        AnswerLog(tmp_path / "answers.jsonl")


def test_answers_of_other_data_are_refused(project, data, tmp_path):
    say(project, "a")
    data.records[0]["annotations"][0]["id"] = 77
    with pytest.raises(ValueError, match="holds an answer about image 1, instances"):
        Project(data, tmp_path / "asked", EVERYTHING)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("occlusion", "maybe", "'occlusion' must be one of"),
        ("depth", 1, "'depth' must be one of"),
        ("range", None, "'range' must be one of"),
        ("first", "1", "'first' must be an integer"),
        ("image_id", True, "'image_id' must be an integer"),
        ("annotator", " ", "the name must be printable text"),
        ("annotator", "a\nb", "the name must be printable text"),
        ("annotator", "a" * 41, "longer than 40"),
        ("depth", "unclear", "a range belongs to a depth relation"),
        ("seconds", -1, "'seconds' must be a number"),
        ("seconds", float("nan"), "'seconds' must be a number"),
        ("seconds", True, "'seconds' must be a number"),
        ("time", "today", "'time' must be an ISO 8601 time"),
        ("time", 5, "'time' must be an ISO 8601 time"),
        ("source", "dream", "'source' must be one of"),
    ],
)
def test_a_wrong_answer_is_refused(key, value, message):
    entry = {"image_id": 1, "first": 1, "second": 2, "annotator": " a ", "occlusion": "none",
             "depth": "equal", "range": "overlap"}  # fmt: skip
    assert checked_answer(entry).annotator == "a" and checked_name("\u4e2d ") == "\u4e2d"
    with pytest.raises(ValueError, match=message):
        checked_answer({**entry, key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_name": "no.png"}, "image 1: no such image: no.png"),
        ({"image_id": 2}, "two images have the same id"),
    ],
)
def test_data_that_cannot_be_asked_about(data, tmp_path, change, message):
    data.records[0].update(change)
    with pytest.raises(ValueError, match=message):
        Project(data, tmp_path)


def test_a_pair_that_is_not_asked_about_is_not_answered(project):
    with pytest.raises(ValueError, match=r"no question is asked about the pair \(1, 2, 3\)"):
        project.answer([Answer(1, 2, 3, "a", "none", "equal", "overlap")])


# --- the server


@contextmanager
def serving(project):
    with Server(project) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(project):
    with serving(project) as running:
        yield running


def request(server, method, path, body=None, **headers):
    """Status and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, given)
    response = connection.getresponse()
    result = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return result


def answer_of(project, annotator="a", **changes):
    image_id, first, second = project.pairs[0]
    entry = {"image_id": image_id, "first": first, "second": second,
             "occlusion": "first", "depth": "first", "range": "distinct"}  # fmt: skip
    return json.dumps({"annotator": annotator, "view": "pair", "answers": [{**entry, **changes}]})


def test_only_this_machine_is_listened_to(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_the_page_and_an_image(server):
    status, body, headers = request(server, "GET", "/")
    assert status == 200 and b"Which is in front?" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, body, headers = request(server, "GET", "/image/1")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/image/2", "/image/-1", "/image/../page.html", "/..%2f..%2fetc/passwd", "/etc/passwd",
     "//etc/passwd", "/image/1/../../x", "/image/\\x", "/answers.jsonl"],
)  # fmt: skip
def test_no_other_file_can_be_had(server, path):
    status, body, _ = request(server, "GET", path)
    assert status == 404 and "error" in json.loads(body)


def test_a_question_and_its_answer(server, project):
    status, body, _ = request(server, "GET", "/question?annotator=a&view=pair")
    question = json.loads(body)["question"]
    assert status == 200 and question["things"][0]["id"] == project.pairs[0][1]
    assert question["things"][1]["path"].startswith("M")
    status, body, _ = request(
        server, "POST", "/answers", answer_of(project), Content_Type="application/json"
    )
    assert status == 200 and json.loads(body)["progress"]["answered"] == 1
    assert project.log.said(project.pairs[0], "depth") == {"a": ("first", "distinct")}


JSON = {"Content_Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{", JSON, 400),
        ("[" * 5000, JSON, 400),
        ("x" * 1_000_001, JSON, 413),
        (b"\xff", JSON, 400),
        ("{}", {"Content_Type": "text/plain"}, 415),
        ("{}", {**JSON, "Origin": "http://evil.example"}, 403),
        ("{}", {**JSON, "Origin": "null"}, 403),
        ("{}", {**JSON, "Host": "evil.example"}, 403),
        ("{}", JSON, 400),
        ("[]", JSON, 400),
    ],
)
def test_requests_that_do_not_come_from_the_page_are_refused(
    server, project, body, headers, status
):
    assert request(server, "POST", "/answers", body, **headers)[0] == status
    assert project.log.pairs() == []


def test_other_refusals(server, project):
    assert request(server, "GET", "/", Host="evil.example:80")[0] == 403
    assert request(server, "GET", "/question")[0] == 400
    assert request(server, "GET", "/question?annotator=a&view=x")[0] == 400
    assert (
        request(server, "POST", "/skip", '{"annotator": "a", "pairs": [[1, 2]]}', **JSON)[0] == 400
    )
    assert (
        request(server, "POST", "/answers", '{"annotator": "a", "answers": []}', **JSON)[0] == 400
    )
    assert request(server, "POST", "/other", "{}", **JSON)[0] == 404
    assert request(server, "DELETE", "/")[0] == 501
    wrong = answer_of(project, first=5)
    status, body, _ = request(server, "POST", "/answers", wrong, **JSON)
    assert status == 400 and "no question is asked" in json.loads(body)["error"]


# --- in a browser


def ready(page, answered, name="Ada"):
    """Waits until somebody has answered so many questions, and the next one is drawn."""
    words = "document.querySelector('#progress span')?.innerText"
    page.wait(f"{words}?.startsWith('{name}: {answered} of ')")
    page.wait("document.querySelector('#image image')")


def choice(task, value, range=None):
    more = f"[data-range={range}]" if range else ""
    return f"button[data-task={task}][data-value={value}]{more}"


def test_two_people_settle_a_data_set_in_a_browser(page, server, project, tmp_path):
    """One with the mouse, one with the keyboard; they differ about the last pair."""
    page.open(server.address)
    page.wait("document.activeElement.id === 'name'")
    page.type("Ada")
    page.press("Enter")
    for number in range(4):
        ready(page, number)
        page.click(choice("occlusion", "first"))
        page.click(choice("depth", "first", "overlap"))
    page.wait("!document.getElementById('done').hidden")
    assert page.text("#rest") == "4 of 4 pairs still need the answer of somebody else."

    page.open(f"{server.address}?annotator=Bob")
    for number in range(4):
        ready(page, number, "Bob")
        for key in ("1" if number < 3 else "4", "a"):
            page.press(key)
    page.wait("!document.getElementById('done').hidden")
    assert page.text("#progress span") == "Bob: 4 of 4 answered; 3 of 4 pairs settled"

    page.click("#done .undo")  # Bob thinks again about the last one
    page.wait("!document.getElementById('asking').hidden")
    pressed = "document.querySelector('button[data-value=none]').getAttribute('aria-pressed')"
    assert page.run(pressed) == "true" and "earlier answer is marked" in page.text("#note")
    page.press("1")  # his answer about the depth stays
    page.wait("!document.getElementById('done').hidden")
    assert page.text("#rest") == "All 4 pairs are settled."
    page.click("#write")
    page.wait("document.getElementById('write').innerText.startsWith('written')")
    assert page.text("#write") == "written: 2 images, 2 complete"
    files = [tmp_path / "asked" / name for name in ("instaorder.json", "instances.json")]
    for record in load_instaorder(*files, "."):
        assert (record["occlusion"] == np.triu(np.ones_like(record["occlusion"]), 1)).all()
    times = [answer.seconds for turn in project.log.turns("Bob") for answer in turn]
    assert len(times) == 4 and all(0 < seconds < 300 for seconds in times)


def test_zoom_and_outlines(page, server):
    page.open(f"{server.address}?annotator=Ada")
    ready(page, 0)
    view = "document.getElementById('image').getAttribute('viewBox')"
    assert page.run(view) == "0 0 80 64"
    page.press("z")
    x, y, width, height = map(float, page.run(view).split())
    assert width * height < 80 * 64 and x >= 0 and y >= 0
    page.press("x")
    hidden = "getComputedStyle(document.querySelector('#image path.two')).strokeOpacity"
    assert page.run(hidden) == "0"


def test_the_page_says_when_the_program_has_ended(page, project):
    with serving(project) as server:
        page.open(f"{server.address}?annotator=Ada")
        ready(page, 0)
    for key in ("1", "q"):
        page.press(key)
    page.wait("!document.getElementById('error').hidden")
    assert "Is it still running? Nothing answered so far is lost." in page.text("#error")
    page.messages.clear()  # the browser's own word about the failed request


def test_guess_skip_unclear_and_undo_by_single_keys(page, quick):
    """The first pair is skipped, so that it comes last; the guess is right but for one."""
    one, two = quick.pairs
    quick.guesses = {key: {"occlusion": "first", "depth": "second"} for key in quick.pairs}
    with serving(quick) as server:
        page.open(f"{server.address}?annotator=Ada")
        ready(page, 0)
        assert page.text("#send").startswith("take guess")
        page.press("n")
        page.wait(f"document.querySelector('#image image').href.baseVal === '/image/{two[0] - 1}'")
        page.press("Enter")
        ready(page, 1)
        page.press("5")
        page.press("Enter")  # the rest of the guess
        page.wait("!document.getElementById('done').hidden")
        page.press("u")
        page.wait("!document.getElementById('asking').hidden")
        ready(page, 1)
        page.press("Enter")  # as before
        page.wait("!document.getElementById('done').hidden")
    assert quick.log.said(two, "occlusion") == {"Ada": "first"}
    assert quick.log.said(one, "occlusion") == {"Ada": "unclear"}
    assert quick.log.said(one, "depth") == {"Ada": ("second", None)}
    assert [turn[0].source for turn in quick.log.turns("Ada")] == ["guess", "question"]


def thing(page, number):
    """Where the number of a thing is written in the window."""
    badge = f"document.querySelectorAll('#image .badge circle')[{number}].getBoundingClientRect()"
    return tuple(page.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({badge})"))


SIZES = [(w, h, dark) for w, h in ((400, 800), (800, 900), (1600, 1000)) for dark in (False, True)]


@pytest.mark.parametrize(("width", "height", "dark"), SIZES)
def test_whole_images_by_mouse_and_by_keys(page, quick, tmp_path, width, height, dark):
    """At every size: click from front to back and drag an arrow, then the same by keys."""
    with serving(quick) as server:
        page.open(
            f"{server.address}?annotator=Ada&view=image", width=width, height=height, dark=dark
        )
        ready(page, 0)
        page.wait("document.querySelectorAll('#image .badge').length === 2")
        assert page.run("document.documentElement.scrollWidth") <= width
        shown = page.screenshot(tmp_path / "page.png")
        assert (shown[:4].mean() < 70) == dark
        page.drag(thing(page, 1), thing(page, 0))
        page.click("#send")
        assert page.text("#note").startswith("Still without a place: 1 ")
        page.drag(thing(page, 1), thing(page, 1))  # a click
        page.drag(thing(page, 0), thing(page, 0))
        page.click("#send")
        ready(page, 1)
        for key in "12o12":
            page.press(key)
        page.press("Enter")
        page.wait("!document.getElementById('done').hidden")
    one, two = quick.pairs
    said = [
        (quick.log.said(p, "occlusion")["Ada"], quick.log.said(p, "depth")["Ada"])
        for p in (one, two)
    ]
    assert said == [("second", ("second", None)), ("first", ("first", None))]
    assert [turn[0].source for turn in quick.log.turns("Ada")] == ["image", "image"]


def test_a_whole_image_is_mended_and_taken_back(page, quick):
    quick.guesses = {key: {"occlusion": "both", "depth": "equal"} for key in quick.pairs}
    with serving(quick) as server:
        page.open(f"{server.address}?annotator=Ada")
        ready(page, 0)
        page.press("v")
        page.wait("document.querySelectorAll('#image path.arrow.halo').length === 2")
        page.press("Enter")  # all as guessed
        ready(page, 1)
        page.press("u")
        ready(page, 0)
        for key in ("2", "2", "o", "2", "1"):  # 2 gets a place behind, and hides 1 no more
            page.press(key)
        page.press("u")  # the arrow is back
        page.press("Enter")
        ready(page, 1)
    (pair,) = quick.log.answered_by("Ada")
    assert quick.log.said(pair, "occlusion") == {"Ada": "both"}
    assert quick.log.said(pair, "depth") == {"Ada": ("first", None)}
    assert [[answer.source for answer in turn] for turn in quick.log.turns("Ada")] == [["image"]]


@pytest.mark.parametrize("view", ["pair", "image"])
def test_a_screen_reader_is_told_the_name_of_everything(page, quick, view):
    with serving(quick) as server:
        page.open(f"{server.address}?annotator=Ada&view={view}")
        ready(page, 0)
        told = page.accessible()
    controls = ("button", "checkbox", "progressbar", "image", "group", "region", "textbox")
    assert all(name for role, name in told if role in controls)
    names = {name for _, name in told}
    assert {"answered", "zoom", "hide outlines", "undo", "skip"} <= names
    if view == "pair":
        assert {"1 hides 2", "2 hides 1", "each the other", "1 is closer", "can't tell"} <= names
        (image,) = (name for role, name in told if role == "image")
        assert image.startswith("image 1.png: 1 ") and image.endswith(", dashed orange")
    else:
        assert {"places", "arrows", "next one equally far"} <= names


def test_the_guideline_comes_first_and_a_failed_quiz_ends_it(page, data, tmp_path):
    project = Project(data, tmp_path / "asked", replace(EVERYTHING, guideline=True))
    project.set_quiz(quiz_file(tmp_path / "quiz.jsonl", project.pairs[1]))
    with serving(project) as server:
        page.open(f"{server.address}?annotator=Ada")
        page.wait("document.getElementById('guideline').open")
        page.press("1")  # is not an answer while the guideline is read
        page.press("Escape")
        page.wait("!document.getElementById('guideline').open")
        assert page.text("#quiz") == "Quiz: question 1 of 1"
        assert page.run("document.querySelectorAll('.choice[aria-pressed=true]').length") == 0
        page.press("2")
        page.press("d")
        page.wait("!document.getElementById('done').hidden")
        assert page.text("#rest").startswith("0 of 1 questions of the quiz were answered right")
        assert page.run("document.querySelector('#done .undo').disabled")
    assert project.dismissed("Ada")


# --- the command


def test_an_answer_survives_a_killed_program(data, tmp_path, capsys):
    instances, _ = write_dataset("coco", data, tmp_path / "in")
    arguments = [
        "--from", "coco", "--input", str(instances), "--images", data.image_root,
        "--output", str(tmp_path / "asked"), "--agree", "1", "--port", "0", "--pairs", "all",
    ]  # fmt: skip
    command = [sys.executable, "-m", "occ_order", "annotate", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("4 pairs to ask about: http://127.0.0.1:")
            port = int(line.split(":")[3].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/question?annotator=a&view=pair")
            question = json.loads(connection.getresponse().read())["question"]
            entry = {"image_id": question["image_id"], "first": question["things"][0]["id"],
                     "second": question["things"][1]["id"],
                     "occlusion": "both", "depth": "equal", "range": "overlap"}  # fmt: skip
            body = json.dumps({"annotator": "a", "view": "pair", "answers": [entry]})
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/answers", body, kind)
            assert connection.getresponse().status == 200
        finally:
            process.kill()
    assert main(["annotate", *arguments, "--write"]) == 0
    assert "1 of 4 pairs settled; 1 images written to" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "asked" / "instaorder.json").read_text())["annotations"]
    assert entry["depth"] == [{"order": "0=1", "count": 1, "overlap": True}]


def test_ctrl_c_writes_the_files(data, tmp_path, capsys, monkeypatch):
    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    instances, _ = write_dataset("coco", data, tmp_path / "in")
    arguments = ["--from", "coco", "--input", str(instances), "--images", data.image_root]
    assert main(["annotate", *arguments, "--output", str(tmp_path / "asked"), "--port", "0"]) == 0
    assert "0 of 2 pairs settled; 0 images written" in capsys.readouterr().out
    assert (tmp_path / "asked" / "instaorder.json").is_file()


def test_the_protocol_of_instaorder_needs_right_answers(tmp_path, capsys):
    arguments = ["--from", "labelme", "--input", str(tmp_path), "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main(["annotate", *arguments, "--protocol", "instaorder"])
    assert "--protocol instaorder needs --quiz FILE" in capsys.readouterr().err


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    arguments = ["--from", "labelme", "--input", str(tmp_path), "--output", str(tmp_path)]
    assert main(["annotate", *arguments, "--write"]) == 2
    assert "no labelme files" in capsys.readouterr().err
