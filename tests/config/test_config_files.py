"""What a configuration file may say: settings; no code, no proposals, no address, no circle."""

from __future__ import annotations

import pickle

import pytest
import torch

from occ_order import model_zoo
from occ_order.config import get_cfg, load_cfg
from occ_order.engine.checkpoint import CheckpointError, OrderCheckpointer
from occ_order.engine.launch import argument_parser, main, setup
from occ_order.engine.predictor import OrderPredictor
from occ_order.engine.trainer import Trainer

pytestmark = pytest.mark.usefixtures("nothing_runs")


# --- precomputed proposals, which Detectron2 unpickles


@pytest.fixture
def proposals(tmp_path, harmful, write):
    """A config that makes Detectron2's loader unpickle a file."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"ids": [1], "boxes": [], "x": harmful}))
    text = f"MODEL: {{LOAD_PROPOSALS: True}}\nDATASETS: {{PROPOSAL_FILES_TEST: ['{path}']}}\n"
    return write(text, "proposals.yaml")


REFUSED = {
    "switch": "MODEL: {LOAD_PROPOSALS: True}",
    "train": "DATASETS: {PROPOSAL_FILES_TRAIN: [a.pkl]}",
    "test": "DATASETS: {PROPOSAL_FILES_TEST: [a.pkl]}",
    "http": "DATASETS: {PROPOSAL_FILES_TEST: ['http://127.0.0.1:9/a.pkl']}",
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("where", ["itself", "base"])
def test_precomputed_proposals_are_refused(case, where, write):
    path = write(REFUSED[case], "c.yaml")
    if where == "base":
        path = write("_BASE_: c.yaml", "d.yaml")
    with pytest.raises(ValueError, match=r"\.yaml: (MODEL|DATASETS)\..*proposals are pickles"):
        load_cfg(path)


def test_proposals_on_the_command_line_are_refused(write):
    path = write("SEED: 1", "c.yaml")
    with pytest.raises(ValueError, match="PROPOSAL_FILES_TEST is .*proposals are pickles"):
        load_cfg(path, ["DATASETS.PROPOSAL_FILES_TEST", "['a.pkl']"])


def test_the_training_command_never_reaches_the_proposals(tmp_path, proposals):
    output = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.DEVICE", "cpu"]
    for more in ([], ["--eval-only"]):
        args = argument_parser().parse_args(["--config-file", proposals, *more, *output])
        with pytest.raises(ValueError, match=r"proposals\.yaml: .*proposals are pickles"):
            main(args)
    with pytest.raises(ValueError, match="proposals are pickles"):
        OrderPredictor.from_config(proposals)


def test_a_cfg_that_came_another_way_is_refused_where_it_enters(toy, tmp_path, proposals):
    toy.write_images(tmp_path)
    cfg = toy.config(tmp_path, tmp_path / "out")
    model = Trainer.build_model(cfg)
    cfg.merge_from_file(proposals)  # Detectron2's way, which checks nothing
    entrances = {
        "trainer": lambda: Trainer(cfg),
        "train": lambda: Trainer.build_train_loader(cfg),
        "loader": lambda: Trainer.build_test_loader(cfg, "toy"),
        "test": lambda: Trainer.test(cfg, model),
        "zoo": lambda: model_zoo.build(cfg),
        "predictor": lambda: OrderPredictor(model, cfg),
    }
    for name, enter in entrances.items():
        with pytest.raises(ValueError, match="proposals are pickles"):
            enter()
            pytest.fail(name)


# --- addresses


ADDRESSES = [
    "http://127.0.0.1:9/a.pth",
    "https://127.0.0.1:9/a.pth",
    "ftp://127.0.0.1:9/a.pth",
    "file:///etc/passwd",
    "catalog://ImageNetPretrained/MSRA/R-50",
    "s3://a/b.pth",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "setting", ["MODEL: {WEIGHTS: '%s'}", "TEST: {AMODAL: {ORDER_NETS: [[a, b.yaml, '%s']]}}"]
)
def test_a_config_file_names_no_address(address, setting, write):
    path = write(setting % address, "c.yaml")
    with pytest.raises(ValueError, match=r"c\.yaml: .*(on the command line|must begin with)"):
        load_cfg(path)


def test_addresses_of_the_command_line_and_of_detectron2s_zoo_are_taken(write):
    path = write("MODEL: {WEIGHTS: 'detectron2://a/b.pkl'}", "c.yaml")
    assert load_cfg(path).MODEL.WEIGHTS == "detectron2://a/b.pkl"
    address = "https://127.0.0.1:9/a.pth"
    cfg = load_cfg(path, ["MODEL.WEIGHTS", address])
    assert address == cfg.MODEL.WEIGHTS


@pytest.mark.parametrize(
    "address",
    [
        "https://a.b/../../.bashrc",
        "https://a.b/%2e%2e/.bashrc",
        "https://a.b/..\\..\\x.pth",
        "detectron2://../../x.pkl",
        *ADDRESSES[2:],
    ],
)
def test_an_address_that_would_be_written_elsewhere_is_never_fetched(tmp_path, address):
    """iopath keeps a download in the folder that the path of its address names."""
    model = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="checkpoint: an address must"):
        OrderCheckpointer(model).load(address)
    cfg = get_cfg()
    cfg.MODEL.WEIGHTS = address
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS: an address must"):
        Trainer(cfg)


def test_a_config_file_sends_nothing_to_wandb(write):
    path = write("LOGGING: {WANDB_PROJECT: theirs}", "c.yaml")
    args = argument_parser().parse_args(["--config-file", str(path)])
    with pytest.raises(ValueError, match=r"c\.yaml: LOGGING\.WANDB_PROJECT is 'theirs'"):
        setup(args)


# --- the text of the file


TAGS = [
    'SEED: !!python/object/apply:os.system ["echo x > {trace}"]',
    'SEED: !!python/object/apply:builtins.open ["{trace}", "w"]',
    "SEED: !!python/name:os.system",
    "_BASE_: other.yaml\nSEED: !custom 3",
]


@pytest.mark.parametrize("text", TAGS)
@pytest.mark.parametrize("where", ["itself", "base"])
def test_a_tag_runs_nothing(tmp_path, text, where, write):
    trace = tmp_path / "trace"
    bad = write(text.replace("{trace}", str(trace)), "bad.yaml")
    path = bad if where == "itself" else write("_BASE_: bad.yaml\n", "good.yaml")
    with pytest.raises(ValueError, match=r"bad\.yaml: YAML tags can run code and are rejected"):
        load_cfg(path)
    assert not trace.exists()


BASES = {
    "itself": ("_BASE_: c.yaml", "is circular: .*c.yaml -> .*c.yaml"),
    "circle": ("_BASE_: sub/d.yaml", "is circular: .*c.yaml -> .*d.yaml -> .*c.yaml"),
    "missing": ("_BASE_: no.yaml", "c.yaml: _BASE_ names a file that does not exist: .*no.yaml"),
    "http": ("_BASE_: http://a.b/c.yaml", "must be a local file, got 'http://a.b"),
    "https in a list": ("_BASE_: [https://a.b/c.yaml]", "must be a local file"),
    "another scheme": ("_BASE_: detectron2://c.yaml", "must be a local file"),
    "a number": ("_BASE_: 3", "must be a file name or a list of them, got 3"),
    "no mapping": ("- 1", r"must contain KEY: value, got list"),
    "empty": ("", "must contain KEY: value"),
    "no YAML": ("a: [", "not a YAML file"),
    "deep": ("a: " + "[" * 500, "not a YAML file"),
}


@pytest.mark.parametrize("case", BASES)
def test_a_base_that_is_missing_remote_or_in_a_circle_is_refused(case, write):
    text, message = BASES[case]
    write("_BASE_: ../c.yaml", "sub/d.yaml")
    with pytest.raises(ValueError, match=message):
        load_cfg(write(text, "c.yaml"))


def alias_bomb(levels, width):
    """Each level is a list of `width` aliases of the level before."""
    lines = ["SEED: 1", f"a0: &a0 [{', '.join('x' * width)}]"]
    for k in range(1, levels):
        lines.append(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize("text", [alias_bomb(30, 10), "SEED: 1\na: &a [*a]", "a: &a {b: *a}"])
@pytest.mark.parametrize("where", ["itself", "base"])
def test_aliases_that_stand_for_too_much_are_refused(text, where, write):
    path = write(text, "c.yaml")
    if where == "base":
        path = write("_BASE_: c.yaml", "d.yaml")
    with pytest.raises(ValueError, match=r"c\.yaml: its aliases expand to more than 100,000"):
        load_cfg(path)


def test_aliases_as_people_use_them_are_taken(write):
    text = "INPUT: {MIN_SIZE_TRAIN: &sizes [64, 80], MAX_SIZE_TRAIN: 90}\nSOLVER: {STEPS: *sizes}"
    assert load_cfg(write(text, "c.yaml")).SOLVER.STEPS == (64, 80)


def test_a_config_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*none.yaml"):
        load_cfg(tmp_path / "none.yaml")


def test_bases_are_merged_in_turn_and_options_come_last(write):
    write("SEED: 4\nSOLVER: {MAX_ITER: 3}", "base.yaml")
    write("_BASE_: ../base.yaml\nSEED: 5", "more/base.yaml")
    both = write("_BASE_: [base.yaml, more/base.yaml]\nSOLVER: {BASE_LR: 1.0}", "c.yaml")
    cfg = load_cfg(both, ["SOLVER.GAMMA", "0.5"])
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (5, 3, 1, 0.5)


@pytest.mark.parametrize("opts", [["NO.SUCH", "1"], ["SEED", "text"], ["SEED"]])
def test_unknown_settings_are_refused(opts, write):
    path = write("SEED: 1", "c.yaml")
    with pytest.raises(ValueError, match=r"c\.yaml: "):
        load_cfg(path, opts)
    with pytest.raises(ValueError, match=r"c\.yaml: .*NOT_A_SETTING"):
        load_cfg(write("NOT_A_SETTING: 1", path))
