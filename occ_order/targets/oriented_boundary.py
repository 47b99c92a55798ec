"""Oriented occlusion boundaries: ground truth from masks and order, thinning, mirroring.

Shape shorthand: ``H, W`` image size, ``N`` instances. Pixel (0, 0) is the top left one, y grows
downwards. Everything with four channels is ordered left, right, top, bottom (`DIRECTIONS`), and a
channel speaks about the *occluder*: ``occludes[d, y, x]`` says that pixel (y, x) occludes its
4-neighbour in direction ``d``.

The targets are those of "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu,
Veksler, Boykov), Section 3.1 and supplement 1.3.
"""

from __future__ import annotations

import numpy as np

DIRECTIONS = ("left", "right", "top", "bottom")
"""Channel names, in channel order."""

OFFSETS = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""(dy, dx) from a pixel to its neighbour, per channel."""

OPPOSITE = (1, 0, 3, 2)
"""Channel that looks back from the neighbour, per channel."""

_HORIZONTAL_SWAP = (1, 0, 2, 3)
_VERTICAL_SWAP = (0, 1, 3, 2)


def neighbour_slices(direction: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Index pairs that line every pixel up with its neighbour in one direction.

    Args:
        direction: channel 0..3 (left, right, top, bottom).

    Returns:
        ``(here, there)``: for an (H, W) array ``a``, ``a[here]`` are the pixels that have a
        neighbour inside the image and ``a[there]`` are these neighbours, same shape.

    Raises:
        ValueError: direction is not one of 0..3.
    """
    if direction not in (0, 1, 2, 3):
        raise ValueError(f"direction must be 0..3 (left, right, top, bottom), got {direction!r}")
    everything, first, last = slice(None), slice(None, -1), slice(1, None)
    return (
        ((everything, last), (everything, first)),
        ((everything, first), (everything, last)),
        ((last, everything), (first, everything)),
        ((first, everything), (last, everything)),
    )[direction]


def occluded_neighbours(
    instance_ids: np.ndarray, occ: np.ndarray, *, over_background: bool = True
) -> np.ndarray:
    """Which of its four neighbours each pixel occludes.

    A pixel of instance i occludes the neighbour q when q belongs to an instance j with
    ``occ[i, j] == 1``, or to the background. Pairs whose order is absent (0 both ways) or unknown
    (-1) get nothing on either side of their common border; pairs that occlude each other
    (1 both ways) get it on both sides, because a matrix cannot say where which one is in front.
    Nothing reaches over the image border, and void pixels neither occlude nor are occluded.

    Args:
        instance_ids: integer (H, W); 0 background, k = row k - 1 of `occ`, negative = void
            (padding, crowd, ignore regions: map a 255 of a label image to -1 first).
        occ: occlusion matrix (N, N), ``occ[i, j] == 1`` iff i occludes j, 0 no, -1 unknown.
        over_background: every instance occludes the background (never the other way round).

    Returns:
        bool (4, H, W), the oriented boundary in directions left, right, top, bottom.

    Raises:
        ValueError: wrong shapes or dtypes, values of `occ` outside {-1, 0, 1}, or an id without
            a row in `occ`.
    """
    ids, table = _check_ids(instance_ids), _front_table(occ, over_background)
    num_instances = len(table) - 2
    if ids.size and ids.max() > num_instances:
        raise ValueError(
            f"instance_ids: id {int(ids.max())} has no row in occ, which has {num_instances} rows"
        )
    occludes = np.zeros((4, *ids.shape), dtype=bool)
    for forward in (1, 3):
        here, there = neighbour_slices(forward)
        # Only borders between different ids can carry anything: a small share of the pixels.
        rows, cols = np.nonzero(ids[here] != ids[there])
        # Every void id becomes -1, the last row and column of the table.
        id_here = np.maximum(ids[here][rows, cols], -1)
        id_there = np.maximum(ids[there][rows, cols], -1)
        occludes[forward][here][rows, cols] = table[id_here, id_there]
        occludes[OPPOSITE[forward]][there][rows, cols] = table[id_there, id_here]
    return occludes


def boundary_and_orientation(occludes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Network targets B and E of a bool (4, H, W) oriented boundary (supplement 1.3).

    ``B_p`` is true where pixel p occludes at least one neighbour and ``E_p`` shares a mass of 1
    equally among the directions in which it does; a pixel that occludes to the left and to the
    top has E = (.5, 0, .5, 0).

    Args:
        occludes: bool (4, H, W).

    Returns:
        ``(boundary, orientation)``: bool (H, W) and float32 (4, H, W), zero off the boundary.

    Raises:
        ValueError: not a bool array with four channels.
    """
    occludes = np.asarray(occludes)
    if occludes.dtype != np.bool_ or occludes.ndim != 3 or occludes.shape[0] != 4:
        raise ValueError(
            f"occludes must be bool (4, H, W), got {occludes.dtype} of shape {occludes.shape}"
        )
    boundary = occludes[0] | occludes[1] | occludes[2] | occludes[3]
    orientation = np.zeros(occludes.shape, dtype=np.float32)
    rows, cols = np.nonzero(boundary)
    active = occludes[:, rows, cols].astype(np.float32)
    orientation[:, rows, cols] = active / active.sum(axis=0)
    return boundary, orientation


def oriented_boundary(
    instance_ids: np.ndarray, occ: np.ndarray, *, over_background: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Ground-truth occlusion boundary B and its orientation E (Section 3.1, supplement 1.3).

    The boundary is one pixel wide and lies on the occluder's side only. See
    `occluded_neighbours` for what counts as occluding and `boundary_and_orientation` for E.
    Make the targets *after* geometric augmentation, from the augmented id map: warping E would
    mix its directions.

    Args:
        instance_ids: integer (H, W) map of visible instances; 0 background, k = row k - 1 of
            `occ`, negative = void.
        occ: occlusion matrix (N, N) of -1 / 0 / 1.
        over_background: every instance occludes the background.

    Returns:
        ``(boundary, orientation)``: bool (H, W) and float32 (4, H, W) whose channels (left,
        right, top, bottom) sum to 1 on the boundary and are 0 elsewhere.

    Raises:
        ValueError: as `occluded_neighbours`.

    Examples:
        >>> ids = np.array([[1, 1, 2, 2]])
        >>> boundary, orientation = oriented_boundary(ids, np.array([[0, 1], [0, 0]]))
        >>> boundary  # on the occluder's side
        array([[False,  True, False, False]])
        >>> orientation[:, 0, 1]  # left, right, top, bottom
        array([0., 1., 0., 0.], dtype=float32)
    """
    occludes = occluded_neighbours(instance_ids, occ, over_background=over_background)
    return boundary_and_orientation(occludes)


def unknown_contacts(instance_ids: np.ndarray, occ: np.ndarray) -> np.ndarray:
    """Return the pixels at which two instances of unknown occlusion touch.

    There may or may not be a boundary, so neither the boundary nor its orientation can be learned.

    Args:
        instance_ids: integer (H, W); 0 background, k = row k - 1 of `occ`, negative = void.
        occ: occlusion matrix (N, N) of -1 / 0 / 1.

    Returns:
        bool (H, W), the pixels on both sides of the contact.

    Raises:
        ValueError: as `occluded_neighbours`.
    """
    unknown = (np.asarray(occ) == -1).astype(np.int8)
    np.fill_diagonal(unknown, 0)
    contacts = np.maximum(unknown, unknown.T)
    return np.any(occluded_neighbours(instance_ids, contacts, over_background=False), axis=0)


def semantic_map(
    instance_ids: np.ndarray, classes: np.ndarray, *, void_value: int = 255
) -> np.ndarray:
    """Semantic target S: the class of the instance at each pixel, 0 for background.

    Args:
        instance_ids: integer (H, W); 0 background, k = entry k - 1 of `classes`, negative = void.
        classes: integer (N,), class number of each instance as it shall stand in the map (so
            usually >= 1, since 0 is the background's).
        void_value: value of void pixels, the "ignore" label of the loss.

    Returns:
        int32 (H, W).

    Raises:
        ValueError: wrong shapes or dtypes, or an id without an entry in `classes`.
    """
    ids, classes = _check_ids(instance_ids), np.asarray(classes)
    if classes.ndim != 1 or (classes.size and not np.issubdtype(classes.dtype, np.integer)):
        raise ValueError(
            f"classes must be integer (N,), got {classes.dtype} of shape {classes.shape}"
        )
    if ids.size and ids.max() > len(classes):
        raise ValueError(f"instance_ids: id {int(ids.max())}, but only {len(classes)} classes")
    table = np.zeros(len(classes) + 2, dtype=np.int32)
    table[1:-1] = classes
    table[-1] = void_value
    return table[np.maximum(ids, -1)]


def flip_orientation(maps: np.ndarray, *, axis: str = "horizontal") -> np.ndarray:
    """Mirror an oriented map: pixels *and* the two channels that trade places.

    Args:
        maps: (C, H, W) with C >= 4, channels left, right, top, bottom first; further channels
            (the "no boundary" one of the composed output) are only mirrored.
        axis: "horizontal" mirrors left and right, "vertical" top and bottom.

    Returns:
        A new array of the same shape and dtype; applying it twice gives the input back.

    Raises:
        ValueError: fewer than four channels or another axis name.
    """
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.shape[0] < 4:
        raise ValueError(f"maps must be (C, H, W) with C >= 4, got shape {maps.shape}")
    if axis not in ("horizontal", "vertical"):
        raise ValueError(f"axis must be 'horizontal' or 'vertical', got {axis!r}")
    horizontal = axis == "horizontal"
    swap = _HORIZONTAL_SWAP if horizontal else _VERTICAL_SWAP
    channels = [*swap, *range(4, maps.shape[0])]
    return np.ascontiguousarray(np.flip(maps[channels], axis=2 if horizontal else 1))


def thin_directions(oriented_prob: np.ndarray) -> np.ndarray:
    """Thin each direction's map by non-maximum suppression along its own axis.

    A blurred prediction puts several pixels of response beside each other where the truth is
    one pixel wide; each of them would become its own pair of the CRF's set O. For every channel
    a value survives iff it is positive, not smaller than the value one step *against* the
    direction and larger than the value one step *along* it, so of a plateau the last pixel in
    the direction is kept. Stated that way the rule commutes with `flip_orientation`. Beyond the
    image border lies minus infinity.

    Args:
        oriented_prob: float (4, H, W), for example boundary probability times orientation
            probability; NaN never survives.

    Returns:
        Array of the same shape and dtype, 0 where suppressed and unchanged elsewhere.

    Raises:
        ValueError: not four channels.
    """
    prob = np.asarray(oriented_prob)
    if prob.ndim != 3 or prob.shape[0] != 4:
        raise ValueError(f"oriented_prob must be (4, H, W), got shape {prob.shape}")
    thinned = np.zeros_like(prob)
    for d, channel in enumerate(prob):
        keep = channel > 0
        here, there = neighbour_slices(d)
        keep[here] &= channel[here] > channel[there]
        # Seen from `there`, the pixel `here` lies one step against the direction.
        keep[there] &= channel[there] >= channel[here]
        np.copyto(thinned[d], channel, where=keep)
    return thinned


def _check_ids(instance_ids: np.ndarray) -> np.ndarray:
    ids = np.asarray(instance_ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"instance_ids must be an integer (H, W) array, got {ids.dtype} of shape {ids.shape}"
        )
    # Unsigned ids cannot hold the -1 of void and would make np.maximum(ids, -1) change dtype.
    return ids.astype(np.int64) if np.issubdtype(ids.dtype, np.unsignedinteger) else ids


def _front_table(occ: np.ndarray, over_background: bool) -> np.ndarray:
    """bool (N + 2, N + 2): does id a occlude id b? Row/column 0 background, -1 (last) void."""
    occ = np.asarray(occ)
    if occ.ndim != 2 or occ.shape[0] != occ.shape[1]:
        raise ValueError(f"occ must be a square (N, N) matrix, got shape {occ.shape}")
    if not np.isin(occ, (-1, 0, 1)).all():
        raise ValueError(f"occ must hold only -1, 0 and 1, got {np.unique(occ).tolist()}")
    table = np.zeros((len(occ) + 2, len(occ) + 2), dtype=bool)
    table[1:-1, 1:-1] = occ == 1
    table[1:-1, 0] = over_background
    return table
