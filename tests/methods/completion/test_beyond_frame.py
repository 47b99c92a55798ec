"""Amodal masks of instances that the frame of the image cuts off."""

from __future__ import annotations

import numpy as np
import pytest

import occ_order
from occ_order.front import photographs
from occ_order.instances import OrderedInstances
from occ_order.methods.completion.amodal import GREY, Settings, completed, on_canvas

SIZE = (60, 80)


def disc(y: float, x: float, radius: float, size=SIZE) -> np.ndarray:
    rows, columns = np.indices(size)
    return np.hypot(rows - y, columns - x) <= radius


class Everything:
    """Completes each instance by all its occluders, and keeps what it was given."""

    settings = Settings()

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        self.modal, self.chances = modal, chances
        behind = [modal[row > 0.5].any(0) for row in chances.T]
        return modal | np.stack(behind)


def two() -> OrderedInstances:
    """A disc cut off on the right, in front of one that reaches no side."""
    front = disc(30, 74, 16)
    return OrderedInstances(
        3,
        SIZE,
        np.stack([front, disc(30, 50, 14) & ~front]),
        occlusion=np.array([[0, 1], [0, 0]], np.int8),
        disparity=np.ones(SIZE, np.float32),
        image=np.zeros((*SIZE, 3), np.uint8),
        ids=("cup", "plate"),
    )


def test_the_canvas():
    canvas, outside = on_canvas(two(), 0.25)
    assert canvas.size == outside.shape == (90, 120) and canvas.image.shape == (90, 120, 3)
    middle = np.s_[15:75, 20:100]
    assert not outside[middle].any() and outside.sum() == 90 * 120 - 60 * 80
    assert (canvas.modal[(slice(None), *middle)] == two().modal).all()
    assert not canvas.modal[:, outside].any()
    assert (canvas.image[outside] == GREY).all() and not canvas.image[middle].any()
    assert canvas.disparity is None and canvas.ids == ("cup", "plate")
    assert (canvas.occlusion == two().occlusion).all()


def test_the_outside_occludes_what_reaches_the_frame():
    network = Everything()
    found = completed(two(), network, beyond_frame=0.25)
    canvas, outside = on_canvas(two(), 0.25)
    assert (network.modal == np.concatenate([canvas.modal, outside[None]])).all()
    assert network.chances.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert (found.amodal[0] == canvas.modal[0] | outside).all()
    assert (found.amodal[1] == canvas.modal[1] | canvas.modal[0]).all()
    plain = completed(two(), network)
    assert plain.size == SIZE and plain.amodal.shape == (2, *SIZE) and plain.disparity is not None
    nothing = completed(two()[[]], network, beyond_frame=0.5)
    assert nothing.size == (120, 160) and nothing.amodal.shape == (0, 120, 160)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_no_such_canvas(share):
    with pytest.raises(ValueError, match=r"beyond_frame must be in \[0, 1\], got"):
        completed(two(), Everything(), beyond_frame=share)


def test_the_shipped_network_goes_on_beyond_the_frame():
    """A disc of which three quarters are in the image; one that is whole stays as it is."""
    pytest.importorskip("onnxruntime")
    masks = np.stack([disc(30, 70, 18), disc(30, 25, 12)])
    image = np.full((*SIZE, 3), 90, np.uint8)
    found = occ_order.predict(image, masks, beyond_frame=0.3)
    size = (96, 128)
    whole = np.stack([disc(30 + 18, 70 + 24, 18, size), disc(30 + 18, 25 + 24, 12, size)])
    assert found.size == size and (found.amodal & found.modal == found.modal).all()
    assert (found.amodal[1] == found.modal[1]).all() and (found.modal[1] == whole[1]).all()
    share = [(m & whole[0]).sum() / (m | whole[0]).sum() for m in (found.modal[0], found.amodal[0])]
    assert share[1] > share[0] + 0.05
    inside = occ_order.predict(image, masks)
    assert inside.size == SIZE and (found.occlusion == inside.occlusion).all()


def test_amodal_masks_that_are_there_already_are_not_extended():
    pytest.importorskip("onnxruntime")
    chain = photographs(given_masks=True, beyond_frame=0.3)
    image = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(ValueError, match="come with amodal masks"):
        chain(image, two().replace(amodal=two().modal))
    with pytest.raises(ValueError, match="beyond_frame applies to amodal masks"):
        occ_order.predict(image, two().modal, amodal=False, beyond_frame=0.3)
