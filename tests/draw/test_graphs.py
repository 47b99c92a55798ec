"""Layout and drawing of order graphs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from occ_order.draw import colors, graphs
from occ_order.draw.layout import layered_layout, order_edges
from occ_order.order.graph import layers


def matrix(count: int, *edges: tuple[int, int]) -> np.ndarray:
    occ = np.zeros((count, count), np.int8)
    for i, j in edges:
        occ[i, j] = 1
    return occ


def random_order(count: int, seed: int, share: float = 0.06) -> np.ndarray:
    """Acyclic order of `count` instances with about share * count^2 / 2 edges."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((count, count)) < share, 1)
    shuffle = rng.permutation(count)
    return upper[np.ix_(shuffle, shuffle)].astype(np.int8)


def test_a_chain_runs_straight_down():
    layout = layered_layout(matrix(3, (2, 0), (0, 1)))
    assert layout.positions[:, 1].tolist() == [1.0, 2.0, 0.0]
    assert np.ptp(layout.positions[:, 0]) == 0
    assert not layout.loose.any() and layout.groups == []


def test_a_long_arrow_gets_way_points_beside_the_nodes_it_passes():
    layout = layered_layout(matrix(3, (0, 1), (1, 2), (0, 2)))
    route = layout.routes[0, 2]
    assert route.shape == (1, 2)
    assert route[0, 1] == layout.positions[1, 1]
    assert abs(route[0, 0] - layout.positions[1, 0]) > 0.3
    assert layout.routes[0, 1].shape == (0, 2)


def test_a_cycle_shares_a_row_and_its_members_stand_together():
    occ = matrix(6, (0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (0, 5))
    layout = layered_layout(occ)
    assert layout.groups == [(1, 2, 3)]
    rows = layout.positions[:, 1]
    assert rows[1] == rows[2] == rows[3] == 1.0
    members = layout.positions[[1, 2, 3], 0]
    other = layout.positions[5, 0]
    assert not members.min() < other < members.max()


def test_the_row_below_says_whether_nothing_is_there_or_nothing_known():
    occ = matrix(3, (0, 1))
    known, unknown, elsewhere = occ.copy(), occ.copy(), occ.copy()
    unknown[2, 0] = unknown[0, 2] = -1
    elsewhere[1, 0] = -1  # of a pair that is drawn
    drawn = [graphs.draw_order_graph(one) for one in (known, unknown, elsewhere)]
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[0] == drawn[2]).all()


def test_instances_without_relation_stand_below():
    layout = layered_layout(matrix(4, (1, 3)))
    assert layout.loose.tolist() == [True, False, True, False]
    assert layout.positions[[0, 2], 1].min() > layout.positions[[1, 3], 1].max()


def test_unknown_and_diagonal_entries_draw_nothing():
    occ = np.full((3, 3), -1, np.int8)
    np.fill_diagonal(occ, 0)
    assert order_edges(occ) == []
    assert layered_layout(occ).loose.all()


@settings(max_examples=30)
@given(count=st.integers(0, 60), seed=st.integers(0, 10_000))
def test_arrows_lead_down_and_no_two_nodes_meet(count, seed):
    occ = random_order(count, seed)
    layout = layered_layout(occ)
    positions = layout.positions
    assert positions.shape == (count, 2) and np.isfinite(positions).all()
    for i, j in order_edges(occ):
        assert positions[i, 1] < positions[j, 1]
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    assert (gaps[~np.eye(count, dtype=bool)] > 0.55).all()
    linked = ~layout.loose
    depth = layers(occ)[linked]
    rows = positions[linked, 1]
    assert all(
        rows[depth == d].max() < rows[depth == d + 1].min() for d in range(depth.max(initial=0))
    )
    assert (layered_layout(occ).positions == positions).all()


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"\(N, N\), got \(2, 3\)"):
        order_edges(np.zeros((2, 3)))


def count_color(drawing: np.ndarray, color: str) -> int:
    wanted = np.rint(np.array(to_rgb(color)) * 255)
    return int((np.abs(drawing.astype(int) - wanted).max(2) <= 3).sum())


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_every_size_of_graph_is_drawn(count):
    drawing = graphs.draw_order_graph(random_order(count, 3), names=["thing"] * count, sharpness=1)
    assert drawing.dtype == np.uint8 and drawing.shape[2] == 3
    assert drawing.shape[0] > 60 and drawing.shape[1] > 200
    assert (drawing[0] == 255).all() and (drawing[:, 0] == 255).all()
    for color in colors.instance_colors(count)[::7]:
        assert (drawing == color).all(2).sum() > 100


def test_a_cycle_is_drawn_in_its_own_colour_and_an_order_is_not():
    cyclic = graphs.draw_order_graph(matrix(2, (0, 1), (1, 0)), sharpness=1)
    plain = graphs.draw_order_graph(matrix(2, (0, 1)), sharpness=1)
    assert count_color(cyclic, colors.CYCLE_COLOR) > 150
    assert count_color(plain, colors.CYCLE_COLOR) == 0


def test_the_arrow_head_is_at_the_occluded_end():
    """More dark ink just above the lower node (the head) than just below the upper one."""
    drawing = graphs.draw_order_graph(matrix(2, (1, 0)), sharpness=1)
    column = [int((np.abs(row.astype(int) - (57, 66, 78)).max(1) <= 30).sum()) for row in drawing]
    dark = np.flatnonzero(np.array(column) > 0)
    upper, lower = column[dark[2]], max(column[dark[-12] : dark[-1]])
    assert lower > 2 * upper


def test_images_names_and_labels_must_fit():
    with pytest.raises(ValueError, match="2 instances need 2 names, got 1"):
        graphs.draw_order_graph(matrix(2), names=["a"])
    with pytest.raises(ValueError, match=r"colors must have shape \(2, 3\)"):
        graphs.draw_order_graph(matrix(2), colors=np.zeros((3, 3), np.uint8))


def test_thumbnails_show_the_instance_and_fade_the_rest():
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 1] = 180
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 5:15, 0:10] = True
    seen, empty = graphs.thumbnails(image, masks, size=40)
    assert seen.shape == empty.shape == (40, 40, 3)
    assert seen[20, 20].tolist() == [0, 180, 0]
    assert seen[1, 1].min() > 200
    assert (empty == 225).all()


def two_squares() -> tuple[np.ndarray, np.ndarray]:
    masks = np.zeros((2, 120, 200), bool)
    masks[0, 30:90, 20:80] = masks[1, 30:90, 120:180] = True
    return np.full((120, 200, 3), 120, np.uint8), masks


@pytest.mark.parametrize("verdict", list(colors.EDGE_STYLES))
def test_each_verdict_is_drawn_in_its_colour(verdict):
    image, masks = two_squares()
    drawing = graphs.draw_graph_on_image(
        image, masks, matrix(2, (0, 1)), verdicts={(0, 1): verdict}, legend=False
    )
    assert drawing.shape == image.shape
    between = drawing[:, 85:115]
    drawn = {name: count_color(between, s["color"]) for name, s in colors.EDGE_STYLES.items()}
    assert drawn[verdict] > 12
    assert sum(drawn.values()) == drawn[verdict]


def test_line_styles_and_colours_of_the_verdicts_all_differ():
    styles = list(colors.EDGE_STYLES.values())
    assert len({str(s["linestyle"]) for s in styles}) == len({s["color"] for s in styles}) == 3


def test_edges_without_a_verdict_are_left_out_and_the_legend_adds_a_row():
    image, masks = two_squares()
    occ = matrix(2, (0, 1))
    bare = graphs.draw_graph_on_image(image, masks, np.zeros_like(occ))
    none = graphs.draw_graph_on_image(image, masks, occ, verdicts={}, legend=False)
    assert (bare == none).all()
    with_legend = graphs.draw_graph_on_image(image, masks, occ, verdicts={(0, 1): "wrong"})
    assert with_legend.shape[0] == 150


def test_an_instance_that_cannot_be_seen_gets_no_arrow():
    image, masks = two_squares()
    masks[1] = False
    drawn = graphs.draw_graph_on_image(image, masks, matrix(2, (0, 1)))
    bare = graphs.draw_graph_on_image(image, masks, matrix(2))
    assert (drawn == bare).all()


def test_bad_graph_inputs_are_refused():
    image, masks = two_squares()
    with pytest.raises(ValueError, match="3 instances, got 2 masks"):
        graphs.draw_graph_on_image(image, masks, matrix(3))
    with pytest.raises(ValueError, match="verdicts must be among"):
        graphs.draw_graph_on_image(image, masks, matrix(2, (0, 1)), verdicts={(0, 1): "fine"})


def test_an_empty_image_stays_empty():
    empty = graphs.draw_graph_on_image(
        np.zeros((0, 4, 3), np.uint8), np.zeros((1, 0, 4), bool), matrix(1)
    )
    assert empty.shape == (0, 4, 3)


# --- depth graphs


def patches_of(monkeypatch, *args, **options):
    """Line style, arrow style and colour of every edge that a graph draws."""
    seen = []
    real = graphs.FancyArrowPatch

    def spy(*places, **given):
        patch = real(*places, **given)
        seen.append(patch)
        return patch

    monkeypatch.setattr(graphs, "FancyArrowPatch", spy)
    drawing = graphs.draw_order_graph(*args, **options, compact=True)
    return seen, drawing


def test_overlapping_depth_is_dashed_and_equal_depth_a_double_line(monkeypatch):
    """InstaOrder, Fig. 1d and Section 1: a case of overlapping depth is "displayed as a dashed
    line"; equal depth points both ways."""
    overlap = np.zeros((3, 3), int)
    overlap[0, 1] = overlap[1, 0] = 1
    equal = np.zeros((3, 3), bool)
    equal[1, 2] = equal[2, 1] = True
    closer = matrix(3, (0, 1), (0, 2))
    drawn, drawing = patches_of(monkeypatch, closer, overlap=overlap, equal=equal)
    arrows, doubles = drawn[:2], drawn[2:]
    assert [patch.get_linestyle() != "-" for patch in arrows] == [True, False]
    assert len(doubles) == 2  # the dark line and the white one inside it
    assert doubles[0].get_linewidth() > doubles[1].get_linewidth()
    assert type(doubles[0].get_arrowstyle()).__name__ == "Curve"
    plain, without = patches_of(monkeypatch, closer)
    assert len(plain) == 2 and all(patch.get_linestyle() == "-" for patch in plain)
    assert drawing.shape == without.shape and (drawing != without).any()


def test_overlap_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"overlap must have shape \(2, 2\), got \(3, 3\)"):
        graphs.draw_order_graph(matrix(2, (0, 1)), overlap=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"equal must have shape"):
        graphs.draw_order_graph(matrix(2, (0, 1)), equal=np.zeros((3, 3)))
