"""Disparity maps without PyTorch: resizing and the whole map agree with PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.lite.disparity import resampled

SIZES = [
    ((7, 9), (7, 9)),
    ((7, 9), (3, 20)),
    ((40, 31), (16, 8)),
    ((1, 5), (4, 2)),
    ((2, 2), (1, 1)),
]


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizing_is_that_of_pytorch(before, after, cubic):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).random((3, *before)).astype(np.float32)
    found = resampled(values, after, cubic=cubic)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], after, mode="bicubic" if cubic else "bilinear"
    )[0]
    assert found.shape == (3, *after) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)
