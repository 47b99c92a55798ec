"""Verdicts, curves and the parts that HTML reports are made of."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest
from markupsafe import Markup

from occ_order.apps import report
from occ_order.draw import curves
from occ_order.draw.curves import SERIES_COLORS, draw_accuracy_recall
from occ_order.draw.verdicts import edge_verdicts, match_instances
from occ_order.metrics import oair


def strips(count: int, length: int = 10) -> np.ndarray:
    """Masks of `count` upright strips of 4 pixels side by side."""
    masks = np.zeros((count, length, 4 * count), bool)
    for k in range(count):
        masks[k, :, 4 * k : 4 * k + 4] = True
    return masks


def matrix(count: int, *edges: tuple[int, int]) -> np.ndarray:
    occ = np.zeros((count, count), np.int8)
    for i, j in edges:
        occ[i, j] = 1
    return occ


def test_verdicts_follow_paths_and_matches():
    gt = strips(5)
    truth = matrix(5, (0, 1), (1, 2), (2, 3), (3, 4))
    # Instance 4 is not found; 0 -> 1 holds by a detour over 2; 2 -> 3 is reversed.
    found = gt[:4]
    guess = matrix(4, (0, 2), (2, 1), (1, 2), (3, 2))
    assert edge_verdicts(gt, truth, found, guess) == {
        (0, 1): "correct",
        (1, 2): "wrong",
        (2, 3): "wrong",
        (3, 4): "missed",
    }


def test_pairs_apart_and_mutual_ones_are_not_judged():
    gt = strips(3)
    truth = matrix(3, (0, 2), (1, 2), (2, 1))
    assert edge_verdicts(gt, truth, gt, truth) == {}
    assert edge_verdicts(gt, truth, gt, truth, touching=False) == {(0, 2): "correct"}


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_add_up_to_the_counts_of_the_metric(seed):
    rng = np.random.default_rng(seed)
    gt = strips(8)
    found = gt[rng.permutation(8)[:6]]
    truth = np.triu(rng.random((8, 8)) < 0.7, 1).astype(np.int8)
    guess = (rng.random((6, 6)) < 0.25).astype(np.int8) * (1 - np.eye(6, dtype=np.int8))
    words = list(edge_verdicts(gt, truth, found, guess).values())
    counts = oair(
        [{"masks": gt, "occlusion": truth, "classes": np.zeros(8, int)}],
        [{"masks": found, "occlusion": guess, "classes": np.zeros(6, int)}],
        iou_thresholds=[0.5],
    )
    assert words.count("correct") == counts["correct"][0]
    assert len(words) - words.count("missed") == counts["recovered"][0]
    assert len(words) == counts["edges"][0]


def test_matching_prefers_the_surer_prediction_and_knows_nothing():
    gt = strips(1)
    both = np.concatenate([gt, gt])
    assert match_instances(gt, both, scores=np.array([0.1, 0.9])).tolist() == [1]
    assert match_instances(gt, both[:0]).tolist() == [-1]
    assert match_instances(gt[:0], both).tolist() == []
    assert edge_verdicts(gt[:0], matrix(0), both, matrix(2)) == {}


def test_curves_leave_out_undefined_points_and_draw_the_rest():
    given = {
        "a": {"recall": [1.0, 0.5, 0.0], "accuracy": [0.9, 1.0, float("nan")]},
        "b": {"recall": [None], "accuracy": [None], "style": (1, 1)},
    }
    drawing = draw_accuracy_recall(given, sharpness=1)
    assert drawing.shape == (500, 620, 3)
    first = tuple(int(SERIES_COLORS[0][k : k + 2], 16) for k in (1, 3, 5))
    assert (np.abs(drawing.astype(int) - first).max(2) < 3).sum() > 60
    assert draw_accuracy_recall({}, sharpness=1).shape == drawing.shape


def test_further_seeds_are_not_listed_and_low_recall_fills_the_plot(monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "figure_image", lambda figure, **_: drawn.append(figure))
    low = {"recall": [0.05, 0.2], "accuracy": [0.9, 0.8]}
    draw_accuracy_recall({"a": low, "a (2)": {**low, "style": (0, 0), "again": True}, "b": low})
    draw_accuracy_recall({"a": low, "b": {"recall": [0.5], "accuracy": [0.5]}})
    seeds, high = drawn
    assert [text.get_text() for text in seeds.legends[0].texts] == ["a", "b"]
    lines = seeds.axes[0].lines
    assert len(lines) == 3 and lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert seeds.axes[0].get_xlim()[1] == pytest.approx(0.22)
    assert high.axes[0].get_xlim()[1] == pytest.approx(1.02)


def test_a_curve_with_unequal_lists_is_refused():
    with pytest.raises(ValueError, match="'x': 2 recalls but 1 accuracies"):
        draw_accuracy_recall({"x": {"recall": [0.1, 0.2], "accuracy": [0.3]}})


class Images(HTMLParser):
    """Collects the attributes of every <img>."""

    def __init__(self):
        super().__init__()
        self.images: list[dict] = []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))


def test_a_figure_carries_its_image_and_escapes_its_words():
    drawing = report.encode_image(
        np.full((20, 30, 3), 7, np.uint8), "a", 'say "hi" <b>', sharpness=2, flat=True
    )
    assert (drawing.name, drawing.width, drawing.height) == ("a.png", 15, 10)
    html = report.figure_html(drawing, "1 < 2", css_class="wide")
    page = Images()
    page.feed(html)
    (image,) = page.images
    assert image["alt"] == 'say "hi" <b>'
    head, data = image["src"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == drawing.data
    assert "1 &lt; 2" in html and 'class="wide"' in html
    assert "<i>x</i>" in report.figure_html(drawing, Markup("<i>x</i>"))


def test_photographs_become_jpeg_and_keep_it_when_renamed():
    drawing = report.encode_image(np.zeros((8, 8, 3), np.uint8), "a", "").renamed("b")
    assert drawing.name == "b.jpg" and drawing.mime == "image/jpeg"
    assert drawing.data[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 1, "–"),
        (float("nan"), 1, "–"),
        (12.345, 1, "12.3"),
        (-1234567.0, 0, "−1\u202f234\u202f567"),
        (0.0, 1, "0.0"),
    ],
)
def test_numbers_of_the_tables(value, digits, text):
    assert report.number(value, digits) == text


def test_fractions_of_the_tables():
    assert report.fraction(3, 4) == "3 of 4"
    assert report.fraction(None, 4) == "–"


def test_keys_name_every_colour():
    key = report.direction_key()
    assert [w for w in ("left", "right", "top", "bottom") if w in key] == re.findall(
        r"</i>(\w+)</span>", key
    )
    verdicts = report.verdict_key({"correct": 3, "missed": 1})
    assert "right (3)" in verdicts and "wrong (0)" in verdicts and "missed (1)" in verdicts
    assert "linear-gradient" in report.depth_key()


def test_a_missing_variable_of_a_template_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        report.render_report("main_job.html.j2", {"sets": []})
