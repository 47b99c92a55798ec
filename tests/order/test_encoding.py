"""Encodings: the definition, every notation both ways, and damaged input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order.order import encoding, kins
from occ_order.order.graph import layers

SIZES = st.integers(0, 7)


@st.composite
def occlusions(draw, values=(0, 1)):
    n = draw(SIZES)
    occ = draw(hnp.arrays(np.int8, (n, n), elements=st.sampled_from(values)))
    np.fill_diagonal(occ, 0)
    return occ


@st.composite
def depths(draw):
    n = draw(SIZES)
    depth, overlap, count = encoding.empty_depth(n)
    for i, j in itertools.combinations(range(n), 2):
        depth[i, j] = draw(st.sampled_from([-1, 0, 1, 2]))
        depth[j, i] = {-1: -1, 0: 1, 1: 0, 2: 2}[int(depth[i, j])]
        if depth[i, j] != -1:
            overlap[i, j] = overlap[j, i] = draw(st.sampled_from([-1, 0, 1]))
            count[i, j] = count[j, i] = draw(st.sampled_from([-1, 1, 2, 3, 32767]))
    return depth, overlap, count


# --- InstaOrder ----------------------------------------------------------------------------


def test_instaorder_occlusion_known_answer():
    items = [{"order": "2<0", "count": 2}, {"order": "0<1 & 1<0", "count": 3}]
    occ = encoding.occlusion_from_instaorder(items, 3)
    assert occ.dtype == np.int8
    assert occ.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert encoding.occlusion_to_instaorder(occ) == [
        {"order": "0<1 & 1<0", "count": 2},
        {"order": "2<0", "count": 2},
    ]


def test_instaorder_depth_known_answer():
    items = [
        {"order": "2<0", "count": 2, "overlap": False},
        {"order": "1=2", "count": 4, "overlap": True},
    ]
    depth, overlap, count = encoding.depth_from_instaorder(items, 3)
    assert depth.tolist() == [[-1, -1, 0], [-1, -1, 2], [1, 2, -1]]
    assert overlap.tolist() == [[-1, -1, 0], [-1, -1, 1], [0, 1, -1]]
    assert count.tolist() == [[-1, -1, 2], [-1, -1, 4], [2, 4, -1]]
    assert (depth.dtype, overlap.dtype, count.dtype) == (np.int8, np.int8, np.int16)
    assert encoding.depth_to_instaorder(depth, overlap, count) == items


@given(occlusions())
def test_instaorder_occlusion_round_trip(occ):
    items = encoding.occlusion_to_instaorder(occ)
    np.testing.assert_array_equal(encoding.occlusion_from_instaorder(items, len(occ)), occ)
    assert len(items) == np.triu(occ | occ.T).sum()


@given(depths())
def test_instaorder_depth_round_trip(matrices):
    items = encoding.depth_to_instaorder(*matrices)
    again = encoding.depth_from_instaorder(items, len(matrices[0]))
    for expected, found in zip(matrices, again, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    encoding.check_depth(*again)


def test_written_counts_are_plain_integers():
    counts = np.full((2, 2), 3, dtype=np.int16)
    items = encoding.occlusion_to_instaorder([[0, 1], [0, 0]], count=counts)
    assert items == [{"order": "0<1", "count": 3}]
    assert type(items[0]["count"]) is int
    with pytest.raises(ValueError, match="at least 1"):
        encoding.occlusion_to_instaorder([[0, 1], [0, 0]], count=0)


def test_counts_of_occlusions_are_read_and_written_back():
    """InstaOrder, Section 3.1: count is "the number of participants per question"."""
    items = [
        {"order": "0<1", "count": 3},
        {"order": "2<0", "count": 4},
        {"order": "1<2 & 2<1"},
    ]
    counts = encoding.occlusion_count_from_instaorder(items, 4)
    assert counts.dtype == np.int16
    assert counts.tolist() == [[-1, 3, 4, -1], [3, -1, -1, -1], [4, -1, -1, -1], [-1, -1, -1, -1]]
    occ = encoding.occlusion_from_instaorder(items, 4)
    assert encoding.occlusion_to_instaorder(occ, count=counts) == items


def order(text, **more):
    return {"order": text, "count": 2, **more}


BAD_OCCLUSION = {
    "out of range": ([order("0<3")], "'0<3': instance 3 is out of range, expected 0 .. 2"),
    "itself": ([order("1<1")], "'1<1' relates instance 1 to itself"),
    "twice": ([order("0<1"), order("0<1")], "'0<1': the pair was already given as '0<1'"),
    "turned round": ([order("0<1"), order("1<0")], "'1<0': the pair was already given as '0<1'"),
    "mutual and single": ([order("0<1 & 1<0"), order("0<1")], "already given as '0<1 & 1<0'"),
    "larger sign": ([order("0>1")], "'0>1' cannot be read"),
    "comma": ([order("0,1")], "'0,1' cannot be read"),
    "and": ([order("0<1 and 1<0")], "'0<1 and 1<0' cannot be read"),
    "three parts": ([order("0<1 & 1<0 & 0<1")], "cannot be read"),
    "other pair": ([order("0<1 & 2<0")], "'0<1 & 2<0': the second half must be"),
    "not reversed": ([order("0<1 & 0<1")], "'0<1 & 0<1': the second half must be"),
    "equal": ([order("0=1")], "'0=1' is not of the form 'a<b' or 'a<b & b<a'"),
    "negative": ([order("-1<1")], "'-1<1' cannot be read"),
    "empty": ([order("")], "'' cannot be read"),
    "other digits": ([order("²<1")], "'²<1' cannot be read"),
    "huge": ([order("99999999999<1")], "cannot be read"),
    "count as text": ([{"order": "0<1", "count": "2"}], "'0<1': count must be an integer"),
    "count float": ([{"order": "0<1", "count": 2.0}], "'0<1': count must be an integer"),
    "count true": ([{"order": "0<1", "count": True}], "'0<1': count must be an integer"),
    "count zero": ([{"order": "0<1", "count": 0}], "'0<1': count must be an integer"),
    "no order": ([{"count": 2}], "item 0 must have an 'order' string"),
    "order is a number": ([{"order": 1, "count": 2}], "item 0 must have an 'order' string"),
    "item is a string": (["0<1"], "item 0 must have an 'order' string"),
    "not a list": ("0<1", "must be a list"),
    "a dict": ({"order": "0<1"}, "must be a list"),
}


@pytest.mark.parametrize("case", BAD_OCCLUSION)
def test_bad_instaorder_occlusion(case):
    items, message = BAD_OCCLUSION[case]
    with pytest.raises(ValueError, match="^file, image 5: ") as error:
        encoding.occlusion_from_instaorder(items, 3, name="file, image 5")
    assert message in str(error.value)


BAD_DEPTH = {
    "contradiction": ([order("0<1"), order("1<0")], "'1<0': the pair was already given as '0<1'"),
    "equal and closer": ([order("0=1"), order("0<1")], "'0<1': the pair was already given"),
    "equal twice": ([order("0=1"), order("1=0")], "'1=0': the pair was already given as '0=1'"),
    "mutual": ([order("0<1 & 1<0")], "'0<1 & 1<0' is not of the form 'a<b' or 'a=b'"),
    "equal half": ([order("0=1 & 1=0")], "'0=1 & 1=0': the second half"),
    "overlap as number": ([order("0<1", overlap=1)], "'0<1': overlap must be true or false"),
    "overlap as text": ([order("0<1", overlap="no")], "'0<1': overlap must be true or false"),
    "count beyond int16": ([{"order": "0<1", "count": 40000}], "'0<1': count must be an integer"),
    "out of range": ([order("7=1")], "'7=1': instance 7 is out of range"),
}


@pytest.mark.parametrize("case", BAD_DEPTH)
def test_bad_instaorder_depth(case):
    items, message = BAD_DEPTH[case]
    with pytest.raises(ValueError, match="^file, image 5: ") as error:
        encoding.depth_from_instaorder(items, 3, name="file, image 5")
    assert message in str(error.value)


def test_absent_count_and_overlap_stay_unknown():
    depth, overlap, count = encoding.depth_from_instaorder([{"order": "0<1"}], 2)
    assert depth.tolist() == [[-1, 1], [0, -1]]
    assert (overlap == -1).all()
    assert (count == -1).all()


def test_depth_knowledge_without_order_is_refused_not_lost():
    depth, overlap, count = encoding.empty_depth(2)
    overlap[0, 1] = overlap[1, 0] = 1
    with pytest.raises(ValueError, match="without a depth order"):
        encoding.depth_to_instaorder(depth, overlap, count)


# --- COCOA ---------------------------------------------------------------------------------


def test_depth_constraint_known_answer():
    occ = encoding.occlusion_from_depth_constraint("1-2,3-1", 3)
    assert occ.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert encoding.occlusion_to_depth_constraint(occ) == "1-2,3-1"
    assert encoding.occlusion_from_depth_constraint("", 2).tolist() == [[0, 0], [0, 0]]
    assert encoding.occlusion_from_depth_constraint("", 0).shape == (0, 0)


def test_depth_constraint_drops_hidden_occludees_only():
    rates = [0.99, 0.95, 0.951]
    occ = encoding.occlusion_from_depth_constraint(
        "1-2,1-3,2-3", 3, occlude_rate=rates, max_occlude_rate=0.95
    )
    # Region 1 is nearly hidden itself, but as an occluder its pairs stay.
    assert occ.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="needs 3 occlude_rate"):
        encoding.occlusion_from_depth_constraint("1-2", 3, max_occlude_rate=0.95)


@given(occlusions())
def test_depth_constraint_round_trip(occ):
    text = encoding.occlusion_to_depth_constraint(occ)
    np.testing.assert_array_equal(encoding.occlusion_from_depth_constraint(text, len(occ)), occ)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0-1", "'0-1': instance 0 is out of range, expected 1 .. 3"),
        ("1-4", "'1-4': instance 4 is out of range"),
        ("2-2", "'2-2' relates instance 2 to itself"),
        ("1-2,1-2", "'1-2' is given twice"),
        ("1-2,", "'' is not of the form"),
        ("1-2;2-3", "'1-2;2-3' is not of the form"),
        ("1<2", "'1<2' is not of the form"),
        ("1-2-3", "'1-2-3' is not of the form"),
        ("1--2", "'1--2' is not of the form"),
        (None, "must be a string, got None"),
        (["1-2"], "must be a string"),
    ],
)
def test_bad_depth_constraint(text, message):
    with pytest.raises(ValueError, match="^region file: ") as error:
        encoding.occlusion_from_depth_constraint(text, 3, name="region file")
    assert message in str(error.value)


# --- KINS ----------------------------------------------------------------------------------


def test_kins_known_answer():
    # Cluster 8: layers 1, 2, 2; cluster 9: layer 1 and an instance that overlaps nothing.
    occ = kins.occlusion_from_kins([8, 8, 8, 9, 9], [1, 2, 2, 1, 0])
    assert occ.tolist() == [
        [0, 1, 1, 0, 0],
        [0, 0, -1, 0, 0],
        [0, -1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_kins_related_pairs_only():
    related = np.zeros((3, 3), dtype=bool)
    related[0, 1] = related[1, 0] = True
    occ = kins.occlusion_from_kins([5, 5, 5], [1, 2, 3], related=related)
    assert occ.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_kins_writes_clusters_and_layers():
    occ = encoding.occlusion_from_edges([(2, 1), (1, 4)], 6)
    clusters, layers = kins.occlusion_to_kins(occ)
    assert clusters.tolist() == [0, 1, 1, 2, 1, 3]
    assert layers.tolist() == [0, 2, 1, 0, 3, 0]


@given(occlusions())
def test_kins_round_trip_of_acyclic_orders(occ):
    occ = np.triu(occ)
    again = kins.occlusion_from_kins(*kins.occlusion_to_kins(occ), related=occ | occ.T)
    np.testing.assert_array_equal(again, occ)


def test_kins_mutual_pair_reads_back_as_unknown():
    occ = np.array([[0, 1], [1, 0]], dtype=np.int8)
    again = kins.occlusion_from_kins(*kins.occlusion_to_kins(occ))
    assert again.tolist() == [[0, -1], [-1, 0]]


@pytest.mark.parametrize(
    "clusters, layers, related, message",
    [
        ([1, 1], [1], None, "2 oco_id and 1 ico_id"),
        ([1, 1], [1, -1], None, "at least 0"),
        ([1, 1], [1.0, 2.0], None, "ico_id must be N integers"),
        (["a", "b"], [1, 2], None, "oco_id must be N integers"),
        ([1, 1], [1, 2], np.ones((3, 3)), "related must be"),
    ],
)
def test_bad_kins(clusters, layers, related, message):
    with pytest.raises(ValueError, match=message):
        kins.occlusion_from_kins(clusters, layers, related=related)


def boxes(*corners, shape=(8, 12)):
    masks = np.zeros((len(corners), *shape), dtype=bool)
    for mask, (y0, x0, y1, x1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def test_masks_rule_known_answer():
    # 0 covers part of 1; 2 borders 1 without amodal overlap; 3 covers 0 but touches it nowhere
    # in the modal masks, since a gap was annotated.
    modal = boxes((0, 0, 8, 4), (0, 4, 8, 8), (0, 8, 8, 10), (0, 11, 8, 12))
    amodal = modal.copy()
    amodal[1, :, 2:8] = True
    amodal[0, :, :] = True
    amodal[0, :, 4:11] = False
    occ = encoding.occlusion_from_masks(modal, amodal)
    expected = np.zeros((4, 4), dtype=np.int8)
    expected[0, 1] = 1
    np.testing.assert_array_equal(occ, expected)


def test_masks_rule_tie_goes_to_the_lower_index():
    modal = boxes((0, 0, 8, 4), (0, 4, 8, 8))
    amodal = boxes((0, 0, 8, 5), (0, 3, 8, 8))
    assert encoding.occlusion_from_masks(modal, amodal).tolist() == [[0, 1], [0, 0]]
    turned = encoding.occlusion_from_masks(modal[::-1], amodal[::-1])
    assert turned.tolist() == [[0, 1], [0, 0]]


@given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(4), st.just(5))), st.data())
def test_masks_rule_agrees_with_plain_loops(modal, data):
    amodal = modal | data.draw(hnp.arrays(bool, modal.shape))
    n = len(modal)
    expected = np.zeros((n, n), dtype=np.int8)
    for i, j in itertools.combinations(range(n), 2):
        near = np.pad(modal[j], 1)
        touch = near[1:-1, 1:-1] | near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2]
        touch |= near[1:-1, 2:]
        o_ij, o_ji = (modal[i] & amodal[j]).sum(), (modal[j] & amodal[i]).sum()
        if (touch & modal[i]).any() and o_ij + o_ji > 0:
            front, back = (i, j) if o_ij >= o_ji else (j, i)
            expected[front, back] = 1
    np.testing.assert_array_equal(encoding.occlusion_from_masks(modal, amodal), expected)
    as_categories = encoding.occlusion_from_masks(modal * 44, amodal * 7)
    np.testing.assert_array_equal(as_categories, expected)


def test_masks_rule_checks_shapes():
    with pytest.raises(ValueError, match="modal is"):
        encoding.occlusion_from_masks(np.zeros((2, 3, 3)), np.zeros((3, 3, 3)))


# --- signed matrices and edge lists --------------------------------------------------------


def test_signed_known_answer():
    signed = np.array([[0, 1, 0], [-1, 0, -1], [0, 1, 0]])
    occ = encoding.occlusion_from_signed(signed)
    assert occ.tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_array_equal(encoding.occlusion_to_signed(occ), signed)


@given(occlusions())
def test_signed_round_trip(occ):
    occ = np.where(occ & occ.T, 0, occ).astype(np.int8)
    signed = encoding.occlusion_to_signed(occ)
    np.testing.assert_array_equal(signed, -signed.T)
    np.testing.assert_array_equal(encoding.occlusion_from_signed(signed), occ)


def test_signed_refuses_what_has_no_sign():
    with pytest.raises(ValueError, match="mutual"):
        encoding.occlusion_to_signed([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="not annotated"):
        encoding.occlusion_to_signed([[0, -1], [0, 0]])
    with pytest.raises(ValueError, match="contradict"):
        encoding.occlusion_from_signed([[0, 1], [0, 0]])
    with pytest.raises(ValueError, match="expected values"):
        encoding.occlusion_from_signed([[0, 2], [-2, 0]])
    with pytest.raises(ValueError, match="diagonal"):
        encoding.occlusion_from_signed([[1, 0], [0, 0]])


@given(occlusions())
def test_edges_round_trip(occ):
    edges = encoding.edges_from_occlusion(occ)
    assert edges.dtype == np.int64
    assert edges.shape == (occ.sum(), 2)
    assert edges.tolist() == sorted(edges.tolist())
    np.testing.assert_array_equal(encoding.occlusion_from_edges(edges, len(occ)), occ)
    np.testing.assert_array_equal(encoding.occlusion_from_edges(edges[::-1], len(occ)), occ)


def test_edges_leave_out_unknown_pairs():
    assert encoding.edges_from_occlusion([[0, -1], [1, 0]]).tolist() == [[1, 0]]
    assert encoding.occlusion_from_edges([], 0).shape == (0, 0)


@pytest.mark.parametrize(
    "edges, message",
    [
        ([(0, 2)], r"edge \(0, 2\): instance 2 is out of range"),
        ([(-1, 0)], "out of range"),
        ([(1, 1)], "to itself"),
        ([(0, 1), (0, 1)], "twice"),
        ([(0.0, 1.0)], "integers"),
        ([0, 1], "integers"),
        ([(0, 1, 1)], "integers"),
    ],
)
def test_bad_edges(edges, message):
    with pytest.raises(ValueError, match=message):
        encoding.occlusion_from_edges(edges, 2)


# --- checks --------------------------------------------------------------------------------


@given(occlusions(values=(-1, 0, 1)))
def test_check_occlusion_accepts_every_valid_matrix(occ):
    assert encoding.check_occlusion(occ) is occ
    np.testing.assert_array_equal(encoding.check_occlusion(occ.astype(float)), occ)


@pytest.mark.parametrize(
    "occ, message",
    [
        (np.zeros((2, 3)), r"expected \(N, N\), got shape \(2, 3\)"),
        (np.zeros(4), "expected"),
        ([[0, 2], [0, 0]], r"expected values \(1, 0, -1\), got 2 at \[0, 1\]"),
        ([[0, np.nan], [0, 0]], "got nan"),
        ([[0, 0.5], [0, 0]], "got 0.5"),
        ([[0, 0], [0, 1]], r"diagonal must be 0, got 1 at \[1, 1\]"),
        ([["0", "1"], ["0", "0"]], "expected numbers"),
    ],
)
def test_bad_occlusion_matrix(occ, message):
    with pytest.raises(ValueError, match=message):
        encoding.check_occlusion(np.array(occ))


@given(depths())
def test_check_depth_accepts_every_valid_matrix(matrices):
    for given_, found in zip(matrices, encoding.check_depth(*matrices), strict=True):
        assert found is given_


@pytest.mark.parametrize(
    "depth, overlap, count, message",
    [
        ([[-1, 1], [1, -1]], None, None, "contradict"),
        ([[-1, 2], [1, -1]], None, None, "contradict"),
        ([[-1, 1], [-1, -1]], None, None, "contradict"),
        ([[0, 1], [0, -1]], None, None, "diagonal must be -1, got 0"),
        ([[-1, 3], [0, -1]], None, None, "got 3"),
        ([[-1, 1], [0, -1]], [[-1, 1], [0, -1]], None, "overlap: .* contradict"),
        ([[-1, 1], [0, -1]], [[-1]], None, r"overlap: expected \(2, 2\)"),
        ([[-1, 1], [0, -1]], None, [[-1, 0], [0, -1]], "count: values must be -1 or at least 1"),
        ([[-1, 1], [0, -1]], None, [[-1, 2], [3, -1]], "count: .* contradict"),
        ([[-1, 1], [0, -1]], None, [[-1, 40000], [40000, -1]], "count: expected values"),
    ],
)
def test_bad_depth_matrix(depth, overlap, count, message):
    arrays = (None if m is None else np.array(m) for m in (depth, overlap, count))
    with pytest.raises(ValueError, match=message):
        encoding.check_depth(*arrays)


@pytest.mark.parametrize("notation", ["instaorder", "depth_constraint", "kins", "signed"])
def test_notations_without_unknown_refuse_it(notation):
    convert = getattr(kins if notation == "kins" else encoding, f"occlusion_to_{notation}")
    with pytest.raises(ValueError, match=r"not annotated: -1 at \[0, 1\]"):
        convert([[0, -1], [0, 0]])


@pytest.mark.parametrize("number", [-1, 2.0, "2", True, None])
def test_number_of_instances_is_checked(number):
    with pytest.raises(ValueError, match="number of instances"):
        encoding.occlusion_from_instaorder([], number)
    with pytest.raises(ValueError, match="number of instances"):
        encoding.depth_from_instaorder([], number)


def test_no_instances():
    assert encoding.occlusion_from_instaorder([], 0).shape == (0, 0)
    assert encoding.occlusion_to_instaorder(np.zeros((0, 0))) == []
    assert [m.shape for m in encoding.depth_from_instaorder([], 0)] == [(0, 0)] * 3
    assert kins.occlusion_from_kins([], []).shape == (0, 0)
    assert [a.shape for a in kins.occlusion_to_kins(np.zeros((0, 0)))] == [(0,), (0,)]
    empty = np.zeros((0, 4, 4))
    assert encoding.occlusion_from_masks(empty, empty).shape == (0, 0)


@pytest.mark.parametrize(
    ("read", "items"),
    [
        (encoding.occlusion_from_instaorder, ["0<1", "0<1"]),
        (encoding.occlusion_from_instaorder, ["0<1", "1<0"]),
        (encoding.depth_from_instaorder, ["0<1", "1<0"]),
        (encoding.depth_from_instaorder, ["0<1", "0=1"]),
    ],
)
def test_pairs_said_twice_are_reported(read, items):
    entries = [{"order": order, "count": 2, "overlap": False} for order in items]
    with pytest.raises(ValueError, match=items[1]):
        read(entries, 2)


# --- every notation


ORDERS = (
    st.integers(0, 6)
    .flatmap(lambda n: hnp.arrays(np.int8, (n, n), elements=st.integers(0, 1)))
    .map(lambda m: np.where(np.eye(len(m), dtype=bool), 0, m).astype(np.int8))
)


@given(ORDERS)
def test_every_notation_of_an_order_reads_back(occ):
    n = len(occ)
    np.testing.assert_array_equal(
        encoding.occlusion_from_instaorder(encoding.occlusion_to_instaorder(occ), n), occ
    )
    text = encoding.occlusion_to_depth_constraint(occ)
    np.testing.assert_array_equal(encoding.occlusion_from_depth_constraint(text, n), occ)
    np.testing.assert_array_equal(
        encoding.occlusion_from_edges(encoding.edges_from_occlusion(occ), n), occ
    )


@given(ORDERS, st.randoms())
def test_notations_move_with_the_instances(occ, random):
    n = len(occ)
    o = list(range(n))
    random.shuffle(o)
    moved = occ[np.ix_(o, o)]
    edges = {(o.index(i), o.index(j)) for i, j in encoding.edges_from_occlusion(occ)}
    assert edges == set(map(tuple, encoding.edges_from_occlusion(moved)))
    np.testing.assert_array_equal(layers(moved), layers(occ)[o])
