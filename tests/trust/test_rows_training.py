"""Training that stops in time, reads only safe settings, and can be repeated: rows 19, 23, 27."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("detectron2")

from detectron2.data import MetadataCatalog  # noqa: E402

from occ_order.config import get_cfg, load_cfg  # noqa: E402
from occ_order.engine import finite, loader  # noqa: E402


@pytest.fixture
def images(toy, tmp_path):
    toy.write_images(tmp_path / "images")
    return tmp_path / "images"


def weights(trainer):
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


# --- row 19: losses and gradients that are not finite


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
def test_row_19_training_stops_before_the_weights_change(how, period):
    trainer = spoiled(3, how, period)
    clean = spoiled(99, "nan", period)
    clean.train(0, 3)
    with pytest.raises(FloatingPointError, match="stopped at iteration 3") as error:
        trainer.train(0, 9)
    assert torch.equal(trainer.model.weight, clean.model.weight)
    assert trainer.model.weight.isfinite().all()
    assert "images of the batch: 71 (a b.png), x" in str(error.value)
    assert ("gradient of weight" if how == "gradient" else "loss loss_bad") in str(error.value)


def test_row_19_asynchronous_metrics_are_refused():
    model = Spoiled(0, "nan")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="async_write_metrics"):
        finite.FiniteTrainer(model, [], optimizer, async_write_metrics=True)


def test_row_19_the_trainer_uses_it(toy, images, tmp_path):
    cfg = toy.config(images, tmp_path / "out")
    trainer = toy.QuietTrainer(cfg)
    assert type(trainer._trainer) is finite.FiniteTrainer
    assert not trainer._trainer.async_write_metrics
    assert issubclass(finite.FiniteAMPTrainer, finite.AMPTrainer)
    real, before = trainer.model.forward, weights(trainer)
    trainer.model.forward = lambda batch: {k: v * np.nan for k, v in real(batch).items()}
    with pytest.raises(FloatingPointError, match=r"iteration 0 .*loss_colour = nan.*\.png\)"):
        trainer.train()
    assert_same(weights(trainer), before)
    assert not list(Path(cfg.OUTPUT_DIR).glob("*.pth"))


def test_row_19_all_processes_stop_when_one_has_a_nan(ask, tmp_path):
    first, last = ask("spoiled_together", str(tmp_path), 2)
    assert "stopped at iteration 2" in first["said"] and "gradient of" in first["said"]
    assert "stopped at iteration 2" in last["said"] and "loss_colour = nan" in last["said"]
    assert first["same"] and last["same"]


# --- row 23: config files


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


TAGS = [
    'SEED: !!python/object/apply:os.system ["echo x > {trace}"]',
    'SEED: !!python/object/apply:builtins.open ["{trace}", "w"]',
    "SEED: !!python/name:os.system",
    "_BASE_: other.yaml\nSEED: !custom 3",
]


@pytest.mark.parametrize("text", TAGS)
@pytest.mark.parametrize("where", ["itself", "base"])
def test_row_23_a_tag_runs_nothing(tmp_path, text, where):
    trace = tmp_path / "trace"
    bad = write(tmp_path / "bad.yaml", text.replace("{trace}", str(trace)))
    path = bad if where == "itself" else write(tmp_path / "good.yaml", "_BASE_: bad.yaml\n")
    with pytest.raises(ValueError, match=r"bad\.yaml: YAML tags could run code and are refused"):
        load_cfg(path)
    assert not trace.exists()


BASES = {
    "itself": ("_BASE_: c.yaml", "leads in a circle: .*c.yaml -> .*c.yaml"),
    "circle": ("_BASE_: sub/d.yaml", "leads in a circle: .*c.yaml -> .*d.yaml -> .*c.yaml"),
    "missing": ("_BASE_: no.yaml", "c.yaml: _BASE_ names a file that does not exist: .*no.yaml"),
    "http": ("_BASE_: http://a.b/c.yaml", "must be a file on this machine, got 'http://a.b"),
    "https in a list": ("_BASE_: [https://a.b/c.yaml]", "must be a file on this machine"),
    "another scheme": ("_BASE_: detectron2://c.yaml", "must be a file on this machine"),
    "a number": ("_BASE_: 3", "must be a file name or a list of them, got 3"),
    "no mapping": ("- 1", r"must hold settings \(KEY: value\), got list"),
    "empty": ("", "must hold settings"),
    "no YAML": ("a: [", "not a YAML file"),
    "deep": ("a: " + "[" * 500, "not a YAML file"),
}


@pytest.mark.parametrize("case", BASES)
def test_row_23_a_base_that_cannot_be_is_refused(tmp_path, case):
    text, message = BASES[case]
    write(tmp_path / "sub" / "d.yaml", "_BASE_: ../c.yaml")
    with pytest.raises(ValueError, match=message):
        load_cfg(write(tmp_path / "c.yaml", text))


def alias_bomb(levels, width):
    """Each level is a list of `width` aliases of the level before."""
    lines = ["SEED: 1", f"a0: &a0 [{', '.join('x' * width)}]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize("text", [alias_bomb(30, 10), "SEED: 1\na: &a [*a]", "a: &a {b: *a}"])
@pytest.mark.parametrize("where", ["itself", "base"])
def test_row_23_aliases_that_stand_for_too_much_are_refused(tmp_path, text, where):
    path = write(tmp_path / "c.yaml", text)
    if where == "base":
        path = write(tmp_path / "d.yaml", "_BASE_: c.yaml")
    with pytest.raises(ValueError, match=r"c\.yaml: its aliases stand for more than 100,000"):
        load_cfg(path)


def test_row_23_aliases_as_people_use_them_are_taken(tmp_path):
    text = "INPUT: {MIN_SIZE_TRAIN: &sizes [64, 80], MAX_SIZE_TRAIN: 90}\nSOLVER: {STEPS: *sizes}"
    assert load_cfg(write(tmp_path / "c.yaml", text)).SOLVER.STEPS == (64, 80)


def test_row_23_no_file(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*none.yaml"):
        load_cfg(tmp_path / "none.yaml")


def test_row_23_what_is_allowed_still_works(tmp_path):
    write(tmp_path / "base.yaml", "SEED: 4\nSOLVER: {MAX_ITER: 3}")
    write(tmp_path / "more" / "base.yaml", "_BASE_: ../base.yaml\nSEED: 5")
    both = write(tmp_path / "c.yaml", "_BASE_: [base.yaml, more/base.yaml]\nSOLVER: {BASE_LR: 1.0}")
    cfg = load_cfg(both, ["SOLVER.GAMMA", "0.5"])
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (5, 3, 1, 0.5)


@pytest.mark.parametrize("opts", [["NO.SUCH", "1"], ["SEED", "text"], ["SEED"]])
def test_row_23_unknown_settings_are_refused(tmp_path, opts):
    path = write(tmp_path / "c.yaml", "SEED: 1")
    with pytest.raises((KeyError, ValueError, AssertionError)):
        load_cfg(path, opts)
    with pytest.raises(KeyError, match="NOT_A_SETTING"):
        load_cfg(write(path, "NOT_A_SETTING: 1"))


# --- row 27: the same again


def test_row_27_the_same_seed_gives_the_same_weights_metrics_and_labels(toy, images, tmp_path):
    found = []
    for name in ("one", "two"):
        cfg = toy.config(images, tmp_path / name, "TEST.EVALUATORS", ["OrderResults"])
        trainer = toy.train(cfg)
        results = Path(cfg.OUTPUT_DIR, "inference", "order_results.json").read_text("utf-8")
        found.append((weights(trainer), results))
    assert_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    other = toy.train(toy.config(images, tmp_path / "three", "SEED", 4))
    assert not torch.equal(weights(other)["out.weight"], found[0][0]["out.weight"])


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["SEED", -1],
        ["TEST.EVAL_PERIOD", 5],
        ["DATALOADER.ASPECT_RATIO_GROUPING", False],
        ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
        ["SOLVER.OPTIMIZER", "ADAMW", "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"],
    ],
    ids=lambda opts: " ".join(map(str, opts)) or "plain",
)  # fmt: skip
def test_row_27_interrupted_and_resumed_ends_with_the_same_weights(toy, images, tmp_path, opts):
    out = tmp_path / "out"
    whole = toy.train(toy.config(images, out, *opts))
    for path in out.glob("*.pth"):
        if path.name not in ("model_0000003.pth", "model_0000007.pth"):
            path.unlink()
    resumed = toy.train(toy.config(images, out, *opts), resume=True)
    assert resumed.start_iter == 8 and resumed.data_loader.batches == 20
    assert_same(weights(resumed), weights(whole))
    assert resumed.scheduler.get_last_lr() == whole.scheduler.get_last_lr()


def test_row_20_killed_before_the_final_file_is_written(toy, images, tmp_path):
    """The iterations are all done; resuming writes what is missing."""
    cfg = toy.config(images, tmp_path / "out", "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    toy.train(cfg)
    final = tmp_path / "out" / "model_final.pth"
    before = torch.load(final, weights_only=True)
    final.unlink()
    toy.train(cfg, resume=True)
    after = torch.load(final, weights_only=True)
    assert after["iteration"] == before["iteration"] == 3
    assert all(torch.equal(value, after["model"][k]) for k, value in before["model"].items())


def test_row_27_evaluation_in_between_does_not_change_the_training(toy, images, tmp_path):
    """The network of the test draws random numbers when it answers, and its training needs some."""
    plain = toy.train(toy.config(images, tmp_path / "plain"))
    often = toy.train(toy.config(images, tmp_path / "often", "TEST.EVAL_PERIOD", 5))
    assert len(list((tmp_path / "often" / "inference").glob("*.json"))) > 0
    assert_same(weights(often), weights(plain))


def test_row_27_two_processes_resumed_end_with_the_same_weights(ask, tmp_path):
    first, second = ask("train_together", str(tmp_path), 2)
    assert first["start"] == second["start"] == 4
    assert first["whole"] == second["whole"] == first["resumed"] == second["resumed"]


STAGES = {
    "glm": {"backbone", "global_layering"},
    "rpn": {"layer_fusion", "proposal_generator"},
    "ilm": {"roi_heads"},
}


def test_stages_of_sln_freeze_and_thaw_in_two_processes(ask, tmp_path):
    """One stage after the other under DistributedDataParallel: only its parts learn, in step."""
    first, second = ask("staged_together", str(tmp_path), 2)
    assert first == second  # stages, what changed, and every weight after every step
    every = set().union(*STAGES.values())
    assert [step["stage"] for step in first] == ["glm"] * 2 + ["rpn"] + ["ilm"] * 2 + ["joint"] * 5
    for step in first:
        parts = STAGES.get(step["stage"], every)
        assert set(step["changed"]) == parts
        assert set(step["still"]) == every - parts


# --- the loader that makes it so


def records(number=11):
    return [
        {"file_name": f"{k}.png", "image_id": k, "width": 3 + k % 2, "height": 3, "annotations": []}
        for k in range(number)
    ]


def sample(record):
    """The image and three random numbers, as an augmentation would draw them."""
    draws = (random.random(), float(np.random.rand()), torch.rand(1).item())
    return {"image_id": record["image_id"], "draws": draws}


def batches(number, *, skip=None, **options):
    made = loader.TrainLoader(records(), sample, batch_size=3, seed=5, **options)
    if skip is not None:
        made.load_state_dict(skip)
    found = iter(made)
    return [next(found) for _ in range(number)], made.state_dict()


@pytest.mark.parametrize("grouping", [False, True])
def test_row_27_the_loader_goes_on_where_it_stopped(grouping):
    options = {"aspect_ratio_grouping": grouping}
    whole, _ = batches(20, **options)
    for stop in (0, 1, 7, 13):
        _, state = batches(stop, **options)
        rest, _ = batches(20 - stop, skip=json.loads(json.dumps(state)), **options)
        assert rest == whole[stop:]
    if grouping:
        assert all(len({item["image_id"] % 2 for item in batch}) == 1 for batch in whole)
    assert {item["image_id"] for batch in whole for item in batch} == set(range(11))


def test_row_27_samples_do_not_depend_on_the_number_of_workers():
    assert batches(6)[0] == batches(6, num_workers=2)[0]


def test_row_27_the_loader_leaves_the_global_generators_alone():
    torch.manual_seed(1), np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1), np.random.seed(1)
    batches(4)
    assert (torch.rand(1), np.random.rand()) == expected


def test_row_27_another_batch_size_goes_on_after_as_many_images(caplog):
    state = {"seed": 5, "batches": 8, "batch_size": 6, "num_images": 11}
    _, after = batches(0, skip=state)
    assert after["batches"] == 16
    assert "batch_size was 6 and is 3" in caplog.text


def test_row_01_unreadable_images_are_skipped_and_counted_when_asked_for(caplog):
    def broken(record):
        if record["image_id"] in (2, 5):
            raise OSError(f"{record['file_name']}: image file is truncated")
        return sample(record)

    def run(**options):
        made = loader.TrainLoader(records(), broken, batch_size=3, seed=5, **options)
        found = iter(made)
        return [next(found) for _ in range(11)], made.skipped

    with pytest.raises(ValueError, match=r"image (\d): cannot read \1.png .*truncated"):
        run()
    seen, skipped = run(skip_unreadable=True)
    assert skipped >= 6
    assert not {2, 5} & {item["image_id"] for batch in seen for item in batch}
    assert "Skipped an image, the 1. one: image " in caplog.text
    assert run(skip_unreadable=True, num_workers=2) == (seen, skipped)


def test_row_01_a_folder_without_any_readable_image_is_an_error():
    def broken(record):
        raise OSError(record["file_name"])

    made = loader.TrainLoader(records(), broken, batch_size=1, seed=5, skip_unreadable=True)
    with pytest.raises(ValueError, match="100 images in a row could not be used"):
        next(iter(made))


def test_the_loader_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no images"):
        loader.TrainLoader([], sample, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="batch size 0"):
        loader.TrainLoader(records(), sample, batch_size=0, seed=0)
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    with pytest.raises(ValueError, match="must be TrainingSampler.*got 'RandomSubsetTraining"):
        loader._sampler_maker(cfg, {"all": records()})


def test_images_come_as_often_as_their_data_set_is_weighted():
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "WeightedTrainingSampler"
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [["few", 3.0]]
    parts = {"many": records()[:8], "few": records()[:2]}
    sampler = loader._sampler_maker(cfg, parts)(5)
    drawn = [index for index, _ in zip(sampler, range(14), strict=False)]  # one round: 8 + 3 * 2
    assert sorted(drawn) == [*range(8), *([8] * 3), *([9] * 3)]
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = [["fw", 3.0]]
    with pytest.raises(ValueError, match=r"names \['fw'\], but DATASETS.TRAIN is"):
        loader._sampler_maker(cfg, parts)


def test_data_sets_of_other_classes_are_named(caplog):
    for name, classes in (("same_a", ["cup"]), ("same_b", ["cup"]), ("other_c", ["dog"])):
        MetadataCatalog.get(name).thing_classes = classes
    caplog.set_level(logging.WARNING)
    loader._compare_classes(["same_a", "same_b"])
    assert not caplog.records
    loader._compare_classes(["same_a", "same_b", "other_c"])
    assert "same_a and other_c have other classes" in caplog.text


def test_half_precision_on_a_cpu_trains_weights_of_single_precision(toy, images, tmp_path):
    plain = toy.train(toy.config(images, tmp_path / "plain"))
    half = toy.train(toy.config(images, tmp_path / "half", "SOLVER.AMP.ENABLED", True))
    assert {value.dtype for value in weights(half).values()} == {torch.float32}
    assert not torch.equal(weights(half)["out.weight"], weights(plain)["out.weight"])
    torch.testing.assert_close(
        weights(half)["out.weight"], weights(plain)["out.weight"], atol=0.05, rtol=0.1
    )


def test_a_checkpoint_without_a_place_in_the_data_is_said(toy, images, tmp_path, caplog):
    out = tmp_path / "out"
    trainer = toy.train(toy.config(images, out))
    for path in out.glob("*.pth"):
        path.unlink()
    trainer.iter = 19
    trainer.checkpointer.save("model_best", iteration=19)
    caplog.set_level(logging.WARNING)
    toy.train(toy.config(images, out, "SOLVER.MAX_ITER", 24), resume=True)
    assert "does not say which images were seen" in caplog.text
    assert "no random state of process 0" in caplog.text
