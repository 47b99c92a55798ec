"""A loss or gradient that is not finite stops the training before the weights change."""

from __future__ import annotations

import pytest
import torch

from occ_order.engine import finite


class Spoiled(torch.nn.Module):
    """One weight; the loss is spoiled at the iteration `when`."""

    def __init__(self, when, how):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.when, self.how, self.calls = when, how, 0

    def forward(self, batch):
        loss = (self.weight**2).sum()
        self.calls += 1
        if self.calls - 1 == self.when:
            if self.how == "gradient":  # finite, but its slope at 0 is not
                loss = loss + ((self.weight - self.weight.detach()) ** 2).sum().sqrt()
            else:
                loss = loss * float(self.how)
        return {"loss_good": self.weight.sum() * 0, "loss_bad": loss}


def spoiled(when, how, period):
    model = Spoiled(when, how)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batch = [{"image_id": 71, "file_name": "a b.png"}, {"image_id": "x"}]
    return finite.FiniteTrainer(model, [batch] * 9, optimizer, gather_metric_period=period)


@pytest.mark.parametrize("period", [1, 5, 1000])
@pytest.mark.parametrize("how", ["nan", "inf", "-inf", "gradient"])
def test_training_stops_before_the_weights_change(how, period):
    trainer = spoiled(3, how, period)
    clean = spoiled(99, "nan", period)
    clean.train(0, 3)
    with pytest.raises(FloatingPointError, match="stopped at iteration 3") as error:
        trainer.train(0, 9)
    assert torch.equal(trainer.model.weight, clean.model.weight)
    assert trainer.model.weight.isfinite().all()
    assert "images of the batch: 71 (a b.png), x" in str(error.value)
    assert ("gradient of weight" if how == "gradient" else "loss loss_bad") in str(error.value)


def test_asynchronous_metrics_are_refused():
    model = Spoiled(0, "nan")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="async_write_metrics"):
        finite.FiniteTrainer(model, [], optimizer, async_write_metrics=True)


def test_all_processes_stop_when_one_has_a_nan(ask, tmp_path):
    first, last = ask("spoiled_together", str(tmp_path), 2)
    assert "stopped at iteration 2" in first["said"] and "gradient of" in first["said"]
    assert "stopped at iteration 2" in last["said"] and "loss_colour = nan" in last["said"]
    assert first["same"] and last["same"]
