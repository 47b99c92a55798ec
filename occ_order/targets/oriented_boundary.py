"""Oriented occlusion boundaries: ground truth from masks and order, suppression, flipping.

Shapes: ``H, W`` image size, ``N`` instances. Pixel (0, 0) is at the top left, y points downwards.
Arrays with four channels are ordered left, right, top, bottom (`DIRECTIONS`) and refer to the
*occluder*: ``occludes[d, y, x]`` means that pixel (y, x) occludes its 4-neighbour in direction
``d``.

The targets are those of "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu,
Veksler, Boykov), Section 3.1 and supplement 1.3.
"""

from __future__ import annotations

import numpy as np

DIRECTIONS = ("left", "right", "top", "bottom")
"""Channel names, in channel order."""

OFFSETS = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""(dy, dx) from a pixel to its neighbour, for each channel."""

OPPOSITE = (1, 0, 3, 2)
"""Channel of the opposite direction, for each channel."""

_HORIZONTAL_SWAP = (1, 0, 2, 3)
_VERTICAL_SWAP = (0, 1, 3, 2)


def neighbour_slices(direction: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return slices that align every pixel with its neighbour in one direction.

    Args:
        direction: channel 0..3 (left, right, top, bottom).

    Returns:
        ``(here, there)``: for an (H, W) array ``a``, ``a[here]`` are the pixels that have a
        neighbour inside the image and ``a[there]`` are these neighbours, in the same shape.

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
    """Compute which of its four neighbours each pixel occludes.

    A pixel of instance i occludes its neighbour q if q belongs to an instance j with
    ``occ[i, j] == 1``, or to the background. Pairs without order (0 both ways) or of unknown order
    (-1) have no boundary; mutual occlusions (1 both ways) have one on both sides, because the
    matrix does not specify where which instance is in front. There is no boundary at the image
    border, and void pixels neither occlude nor are occluded.

    Args:
        instance_ids: integer (H, W); 0 background, k = row k - 1 of `occ`, negative = void
            (padding, crowd, ignore regions: map 255 of a label image to -1 first).
        occ: occlusion matrix (N, N), ``occ[i, j] == 1`` iff i occludes j, 0 no, -1 unknown.
        over_background: every instance occludes the background (never vice versa).

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
        # Only pixels at borders between different ids can be set: a small fraction.
        rows, cols = np.nonzero(ids[here] != ids[there])
        # Map every void id to -1, the last row and column of the table.
        id_here = np.maximum(ids[here][rows, cols], -1)
        id_there = np.maximum(ids[there][rows, cols], -1)
        occludes[forward][here][rows, cols] = table[id_here, id_there]
        occludes[OPPOSITE[forward]][there][rows, cols] = table[id_there, id_here]
    return occludes


def boundary_and_orientation(occludes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the targets B and E from an oriented boundary bool (4, H, W) (supplement 1.3).

    ``B_p`` is true if pixel p occludes at least one neighbour, and ``E_p`` is distributed uniformly
    over the directions in which it does; a pixel that occludes to the left and to the top has
    E = (.5, 0, .5, 0).

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
    """Compute the ground-truth occlusion boundary B and its orientation E.

    Section 3.1, supplement 1.3. The boundary is one pixel wide and only on the occluder's side. See
    `occluded_neighbours` for the definition of occlusion and `boundary_and_orientation` for E.
    Compute the targets *after* geometric augmentation, from the augmented id map: warping E would
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
    """Return the pixels at which two instances with unknown occlusion touch.

    It is unknown whether there is a boundary, so boundary and orientation cannot be trained there.

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
    """Compute the semantic target S: the class of the instance at each pixel, 0 = background.

    Args:
        instance_ids: integer (H, W); 0 background, k = entry k - 1 of `classes`, negative = void.
        classes: integer (N,), class of each instance in the map (usually >= 1, since 0 is the
            background).
        void_value: value of void pixels, the ignore label of the loss.

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
    """Flip an oriented map, including the two channels that are swapped.

    Args:
        maps: (C, H, W) with C >= 4, channels left, right, top, bottom first; further channels
            (the "no boundary" one of the composed output) are only flipped.
        axis: "horizontal" swaps left and right, "vertical" top and bottom.

    Returns:
        A new array of the same shape and dtype; flipping twice returns the input.

    Raises:
        ValueError: fewer than four channels or unknown `axis`.
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
    """Apply non-maximum suppression to each direction's map along its own axis.

    A blurred prediction has several adjacent pixels where the ground truth is one pixel wide; each
    of them would become a pair of the CRF's set O. A value is kept iff it is positive, not smaller
    than the value one step *against* the direction and larger than the value one step *along* it,
    so that the last pixel of a plateau in the direction is kept. By this definition, suppression
    commutes with `flip_orientation`. Values outside the image are minus infinity.

    Args:
        oriented_prob: float (4, H, W), for example boundary probability times orientation
            probability; NaN is suppressed.

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
        # For the pixel `there`, the pixel `here` is one step against the direction.
        keep[there] &= channel[there] >= channel[here]
        np.copyto(thinned[d], channel, where=keep)
    return thinned


def _check_ids(instance_ids: np.ndarray) -> np.ndarray:
    ids = np.asarray(instance_ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"instance_ids must be an integer (H, W) array, got {ids.dtype} of shape {ids.shape}"
        )
    # Unsigned ids cannot represent -1 (void); np.maximum(ids, -1) would change their dtype.
    return ids.astype(np.int64) if np.issubdtype(ids.dtype, np.unsignedinteger) else ids


def _front_table(occ: np.ndarray, over_background: bool) -> np.ndarray:
    """Return bool (N + 2, N + 2): id a occludes id b. Index 0 = background, last (-1) = void."""
    occ = np.asarray(occ)
    if occ.ndim != 2 or occ.shape[0] != occ.shape[1]:
        raise ValueError(f"occ must be a square (N, N) matrix, got shape {occ.shape}")
    if not np.isin(occ, (-1, 0, 1)).all():
        raise ValueError(f"occ must hold only -1, 0 and 1, got {np.unique(occ).tolist()}")
    table = np.zeros((len(occ) + 2, len(occ) + 2), dtype=bool)
    table[1:-1, 1:-1] = occ == 1
    table[1:-1, 0] = over_background
    return table
