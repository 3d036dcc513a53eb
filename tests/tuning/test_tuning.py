"""Tuning rules: parsing, the user's cache, device files, and measurement of the best kernels."""

from __future__ import annotations

import itertools
import json
import operator
import os
import re
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import UserError, _core
from fastalex.cli.main import main
from fastalex.hardware import devices
from fastalex.hardware.tuning_rule import Rule, parse_rule
from fastalex.runtime import device_spec, precisions
from fastalex.runtime.device_spec import DeviceSpec, Gpu
from fastalex.runtime.precisions import FC_STORAGES
from fastalex.tuning import measure, rules, user_cache
from fastalex.tuning import trials as trials_of
from fastalex.variants import get
from fastalex.weights import initial
from tests.support import left
from tests.support.small_net import GPU, OPTIONS, PLACE, batch_of, small

LINES = {  # lines of layer tables, by the op of a rule's key
    "activation": "relu name=r",
    "adaptive_avgpool": "adaptive_avgpool name=p out=6",
    "lrn": "lrn name=n size=5 alpha=2e-5 beta=0.75 k=1 groups=1",
    "maxpool": "maxpool name=q kernel=3 stride=2 rounding=floor",
    "spatial_norm": "spatial_norm name=n size=9 alpha=1e-3 beta=0.75 k=1",
}

pytestmark = pytest.mark.usefixtures("own_cache")


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


# Tuning rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["fp16 conv:48x5x5/1:128 1-8 hfma2_64x64 split=4", "fp32 fc:9216:4096:int8 1-1 gemv", "fp32 lrn+maxpool 3-9 a"],
)
def test_rules_are_read_and_written(line):
    assert parse_rule(line).text == line


@pytest.mark.parametrize(
    "line",
    ["", "fp8 lrn 1-2 a", "fp32 lrn 2-1 a", "fp32 lrn 0-1 a", "fp32 lrn 1-2", "fp32 lrn 1-2 a split=0", "graphs on"],
)
def test_lines_that_are_not_rules_are_refused(line):
    with pytest.raises(ValueError, match="tuning rule|batches"):
        parse_rule(line)


@pytest.mark.emulator
@pytest.mark.parametrize("name", sorted(devices.load_all()))
def test_the_rules_of_every_device_file_name_kernels_of_its_gpu(name, tmp_path):
    device = devices.get(name)
    assert device.tuning is not None
    assert device.tuning.graphs == (device.kind != "jetson")
    parsed = [parse_rule(line) for line in device.tuning.rules]
    with emulated.pretend(name):
        (gpu,) = device_spec.gpus("emulated")
        found = rules.of_device_file(gpu)
        assert found.source.startswith(f"devices/tuning/{name}.toml")
        assert found.text.splitlines()[0] == f"graphs {'on' if device.tuning.graphs else 'off'}"
        layer = operator.attrgetter("precision", "key")
        for _, of_layer in itertools.groupby(sorted(parsed, key=layer), layer):
            check_rules(list(of_layer))


def check_rules(rules):
    """Check that each rule's kernel serves a net with its layer, at its first and last batch."""
    net, size = net_of(rules)
    for rule in rules:
        for batch in {rule.first, min(rule.last, 256)}:
            steps = json.loads(net.describe(_core.Call(shape=(batch, size, size), softmax=rule.key == "softmax")))[
                "steps"
            ]
            served = [step["candidate"] for step in steps if step["key"] == f"{rule.precision} {rule.key}"]
            assert served == [rule.candidate], rule


def net_of(rules):
    """A native net with one layer of the rules' key (two where the key joins two), and its input's side."""
    rule = rules[0]
    op, _, sizes = rule.key.partition(":")
    storage = precisions.PRECISIONS.index(rule.precision)  # fully connected weights of the same type
    shape, params = [96, 27, 27], []
    if op == "conv":
        c, r, stride, k = (int(number) for number in re.match(r"(\d+)x(\d+)x\2/(\d+):(\d+)$", sizes).groups())
        side = {11: 227, 5: 27}.get(r, 13)
        shape, params = [c, side, side], [np.zeros((k, c, r, r), np.float32), np.zeros(k, np.float32)]
        lines = [
            f"conv name=a out={k} kernel={r} stride={stride} pad={0 if r == 11 else r // 2} groups=1 rounding=floor"
        ]
    elif op in ("fc", "softmax"):  # a softmax follows a fully connected layer
        inputs, outputs, kind = (sizes or "8:1000:" + rule.precision).split(":")
        storage = FC_STORAGES.index(kind)
        shape = [int(inputs), 1, 1]
        params = [np.zeros((int(outputs), int(inputs)), np.float32), np.zeros(int(outputs), np.float32)]
        lines = [f"fc name=a out={outputs}"]
    else:
        lines = [LINES[one] for one in op.split("+")]
    table = "".join(line + "\n" for line in lines)
    numbers = (storage, 1, precisions.PRECISIONS.index(rule.precision), 0)
    return _core.Net(table, shape, params, "emulated", *numbers, "".join(one.text + "\n" for one in rules)), shape[1]


@pytest.mark.emulator
@pytest.mark.parametrize("precision", list(precisions.SUPPORTED["cuda"]))
@pytest.mark.parametrize(
    "key",
    [
        "conv:3x11x11/4:96",
        "conv:48x5x5/1:128",
        "conv:256x3x3/1:384",
        "fc:9216:512:int8",
        "fc:4096:256:int4",
        "lrn+maxpool",
        "maxpool",
        "activation",
        "adaptive_avgpool",
        "softmax",
    ],
)
def test_the_check_of_rules_finds_the_layer_of_each_key(precision, key):
    """With a rule for no batch that is asked for, the net says what serves the key; a rule for that is then right."""
    net, size = net_of([Rule(precision, key, 1 << 20, 1 << 20, "any")])
    steps = json.loads(net.describe(_core.Call(shape=(1, size, size), softmax=key == "softmax")))["steps"]
    (step,) = [one for one in steps if one["key"] == f"{precision} {key}"]
    check_rules([Rule(precision, key, 1, 1, step["candidate"], step["split"])])
    with pytest.raises(UserError, match="no_such_kernel"):
        check_rules([Rule(precision, key, 1, 1, "no_such_kernel")])


def test_bad_tuning_sections_are_named(tmp_path):
    files = {
        name: (devices.directory() / name).read_text(encoding="utf-8") for name in ("nano.toml", "tuning/nano.toml")
    }
    (tmp_path / "tuning").mkdir()
    for name, old, new in (
        ("nano.toml", "graphs = false", "graphs = 1"),
        ("tuning/nano.toml", "rules = [\n", 'rules = [\n  "fp32 nonsense",\n'),
        ("tuning/nano.toml", 'basis = "predicted"', 'basis = "guessed"'),
        ("tuning/nano.toml", "source = ", "# source = "),
        ("nano.toml", "graphs = false\n", "graphs = false\nspeed = 3\n"),
    ):
        assert old in files[name]
        for path, text in dict(files, **{name: files[name].replace(old, new, 1)}).items():
            (tmp_path / path).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"nano\.toml.*not valid"):
            devices._load(tmp_path / "nano.toml")


def test_a_device_needs_no_file_of_rules(tmp_path):
    (tmp_path / "nano.toml").write_bytes((devices.directory() / "nano.toml").read_bytes())
    tuning = devices._load(tmp_path / "nano.toml").tuning
    assert tuning is not None
    assert (tuning.graphs, tuning.rules) == (False, ())


def test_gpus_are_recognized_by_what_cuda_says():
    def known(name, sm, memory_gib=None, integrated=False):
        found = devices.recognize_gpu(name, sm, memory_gib and memory_gib * 1024, integrated)
        return found.device.name if found.device else None, found.card.name if found.card else None

    assert known("NVIDIA H200", 90, 140) == ("h200", "H200 SXM")
    assert known("NVIDIA GeForce GTX 1650", 75, 4)[0] == "gtx1650"
    assert known("NVIDIA GeForce RTX 2060", 75, 6)[0] == "rtx20"
    assert known("NVIDIA Tegra X1", 53, 4, integrated=True) == ("nano", None)
    assert known("Orin", 87, 15, integrated=True) == ("orin", None)
    assert known("NVIDIA GH200 480GB", 90) == known("NVIDIA H200", 80) == (None, None)


def trial(batch=1, key="lrn", verdict=measure.WINNER, candidate="lrn_b", **changes):
    row = {"precision": "fp32", "key": key, "layers": ["norm1"], "batch": batch, "candidate": candidate, "split": 1}
    return dict(row, ms=0.5, noise_ms=0.01, verdict=verdict, reason="", **changes)


RULE = Rule("fp32", "lrn", 1, 1, "lrn_b", 1)


def test_the_cache_is_for_one_gpu_driver_and_version(monkeypatch):
    assert user_cache.read_cache(PLACE) == ([], [], [])
    winners = measure.rules([trial(), trial(8), trial(key="softmax", verdict=measure.SLOWER)])
    assert winners == [Rule("fp32", "lrn", 1, 1, "lrn_b", 1), Rule("fp32", "lrn", 8, 8, "lrn_b", 1)]
    left.beside(user_cache.cache_path(PLACE))  # which is removed
    path = user_cache.write_cache(PLACE, winners, [trial(), trial(8)])
    assert path.startswith(os.environ["XDG_CACHE_HOME"])
    name = "emulated-nvidia-geforce-rtx-3090.json"
    assert sorted(os.listdir(os.path.dirname(path))) == [name, name + ".lock"]
    assert user_cache.read_cache(PLACE).rules == winners
    chosen = rules.choose(PLACE)
    assert chosen.cached
    assert path in chosen.source
    assert chosen.text.startswith("fp32 lrn 1-1 lrn_b split=1\nfp32 lrn 8-8 lrn_b split=1\ngraphs on\n")
    # measured again without a winner: the old rule is dropped, that of the other batch stays
    user_cache.write_cache(PLACE, [], [trial(verdict=measure.SLOWER)])
    assert user_cache.read_cache(PLACE).rules == winners[1:]
    assert [one["batch"] for one in user_cache.read_cache(PLACE).trials] == [1, 8]
    other = DeviceSpec("emulated", Gpu(**dict(vars(GPU), driver=13000)))
    assert user_cache.read_cache(other).rules == []
    monkeypatch.setattr(user_cache, "__version__", "9.9")
    assert user_cache.read_cache(PLACE).rules == []
    assert not rules.choose(PLACE).cached


def test_without_device_files_the_cost_model_chooses(monkeypatch):
    def missing():
        raise UserError("the device files are missing: install fastalex again")

    monkeypatch.setattr(devices, "load_all", missing)
    assert rules.choose(PLACE) == ("", "none: the device files are missing: install fastalex again", False)


def write_text(text):
    path = Path(user_cache.cache_path(PLACE))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def is_ignored_with_one_warning():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert not rules.choose(PLACE).cached
    (warning,) = seen
    assert re.search("rtx-3090.json is broken and is not used; run fastalex tune again", str(warning.message))
    with pytest.warns(UserWarning, match="is broken"):  # and is replaced by the next measurement
        user_cache.write_cache(PLACE, [RULE], [trial()])
    assert user_cache.read_cache(PLACE) == ([RULE], [], [trial()])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\ud800", "[" * 100_000, "1" * 5000])
def test_a_broken_cache_counts_as_none(text):
    write_text(text)
    is_ignored_with_one_warning()


HUGE = 10**400


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": 5},
        {"rules": [7]},
        {"rules": ["fp32 lrn 1-1"]},
        {"settings": [["graphs on"]]},
        {"settings": ["graphs maybe"]},
        {"trials": 5},
        {"trials": [[]]},
        {"trials": [{}]},
        {"trials": [trial(key=["lrn"])]},
        {"trials": [dict(trial(), batch="1")]},
        {"trials": [dict(trial(), ms="fast")]},
        {"trials": [dict(trial(), noise_ms=None)]},
        {"trials": [dict(trial(), ms=HUGE)]},
        {"trials": [dict(trial(), precision=None)]},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_cache_with_a_broken_field_counts_as_none(changes):
    path = user_cache.write_cache(PLACE, [RULE], [trial()])
    with open(path, encoding="utf-8") as stream:
        content = json.load(stream)
    write_text(json.dumps(dict(content, **changes)))
    is_ignored_with_one_warning()


def test_a_cache_that_is_a_pipe_does_not_block():
    path = Path(user_cache.cache_path(PLACE))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    is_ignored_with_one_warning()


def test_three_writers_at_once_keep_all_rules():
    def write(first):
        for batch in range(first, first + 12):
            rule = Rule("fp32", "lrn", batch, batch, "lrn_b", 1)
            user_cache.write_cache(PLACE, [rule], [trial(batch)])

    children = []
    for writer in range(3):
        child = os.fork()
        if child == 0:
            try:
                write(1 + 12 * writer)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    kept = user_cache.read_cache(PLACE)
    assert sorted(rule.first for rule in kept.rules) == list(range(1, 37))
    assert sorted(each["batch"] for each in kept.trials) == list(range(1, 37))


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Not a directory"):
        user_cache.write_cache(PLACE, [], [])


@pytest.mark.emulator
def test_the_net_follows_the_cache(parameters):
    plain = small(parameters)
    assert plain.tuning.startswith("devices/tuning/rtx30.toml")
    step = next(step for step in plain.kernels()["steps"] if len(step["candidates"]) > 1)
    other = next(one for one in step["candidates"] if one["name"] != step["candidate"])
    rule = Rule("fp32", step["key"].split(" ")[1], 1, 1, other["name"], 1)
    user_cache.write_cache(plain._device, [rule], [])
    tuned = small(parameters)
    assert "fastalex tune" in tuned.tuning
    chosen = {layer: one["candidate"] for one in tuned.kernels()["steps"] for layer in one["layers"]}
    assert chosen[step["layers"][0]] == other["name"]
    x = batch_of(1)
    assert np.abs(tuned(x) - plain(x)).max() <= 1e-3 * np.abs(plain(x)).max()


@pytest.mark.emulator
def test_a_cache_of_unknown_kernels_is_not_followed(parameters):
    user_cache.write_cache(PLACE, [Rule("fp32", "conv:3x11x11/4:8", 1, 1, "no_such_kernel", 1)], [])
    with pytest.warns(UserWarning, match="no_such_kernel.*fastalex tune"):
        net = small(parameters)
    assert net.tuning.startswith("devices/tuning/rtx30.toml")


# fastalex tune ----------------------------------------------------------------------------------------------------


class PlayedNet:
    """A net of two steps whose kernels take known times; ``broken`` ones fail, ``wrong`` ones compute nonsense. A whole
    call takes ``whole`` seconds on a clock of its own, by whether it is a graph."""

    now = 0.0
    whole: ClassVar = {True: 1.0, False: 1.0}
    times: ClassVar = {"a1": 3.0, "a2": 1.0, "a3": 2.9, "b1": 5.0, "b2": 6.0}
    broken = wrong = ()
    jitter = 0.0
    made: ClassVar = []

    def __init__(self, table, shape, params, backend, storage, threads, precision, index, text, exact, fc_layout):
        self.chosen, self.graph = {"a": ("a1", 1), "b": ("b1", 1)}, True
        for line in text.splitlines():
            if line.startswith("graphs"):
                self.graph = line == "graphs on"
            else:
                rule = parse_rule(line)
                if rule.key in self.chosen:  # rather than the device file
                    self.chosen[rule.key] = (rule.candidate, rule.split)
        PlayedNet.made.append(dict(self.chosen))
        names = [name for name, _ in self.chosen.values()]
        if any(name in self.broken for name in names):
            raise UserError("too many registers")
        self.right = not any(name in self.wrong for name in names)
        self.calls = 0

    def describe(self, call):
        candidates = {"a": [("a1", 1), ("a2", 4), ("a3", 1)], "b": [("b1", 1), ("b2", 1)]}
        steps = [
            {
                "layers": layers,
                "key": "fp32 " + key,
                "candidate": self.chosen[key][0],
                "split": self.chosen[key][1],
                "candidates": [{"name": name, "max_split": split, "cost": 1} for name, split in candidates[key]],
            }
            for layers, key in ((["relu1", "pool1"], "a"), (["relu2", "pool2"], "a"), (["fc6"], "b"))
        ]
        return json.dumps({"steps": steps, "graph": self.graph})

    def run(self, call):
        PlayedNet.now += self.whole[self.graph]
        return [np.full((1, 3), 1.0 if self.right else np.nan, np.float32)]

    def profile(self, call):
        self.calls += 1
        a, b = (
            1e-3 * self.times[name] / split + self.jitter * (self.calls % 7) for name, split in self.chosen.values()
        )
        return [("relu1", 0.0), ("pool1", a / 2), ("relu2", 0.0), ("pool2", a / 2), ("fc6", b)]


@pytest.fixture
def played(monkeypatch):
    monkeypatch.setattr(measure.native._core, "Net", PlayedNet)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: PlayedNet.now)
    monkeypatch.setattr(PlayedNet, "made", [])
    work = measure.TuningJob(get("torchvision", **OPTIONS), [], PLACE, "fp32", "fp32", 1)
    return lambda: {(one["candidate"], one["split"]): one for one in measure.tune(work, repeat=2)}


def test_the_quickest_kernel_wins(played):
    found = played()
    assert list(found)[:-2] == [("a1", 1), ("a2", 1), ("a2", 2), ("a2", 4), ("a3", 1), ("b1", 1), ("b2", 1)]
    assert list(found)[-2:] == [("on", 0), ("off", 0)]
    assert {key: one["verdict"] for key, one in found.items() if one["verdict"] != measure.SLOWER} == {
        ("a1", 1): measure.DEFAULT,
        ("a2", 4): measure.WINNER,
        ("b1", 1): measure.DEFAULT,
        ("on", 0): measure.DEFAULT,
    }
    assert found["a2", 4]["ms"] == pytest.approx(0.25)
    assert found["a1", 1]["layers"] == ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2"]
    # the base twice, and as many trials as the longest list of options; the same for graphs, which have one
    assert len(PlayedNet.made) == 2 + 4 + 2 + 1
    assert measure.rules(list(found.values())) == [Rule("fp32", "a", 1, 1, "a2", 4)]


def test_keys_that_were_measured_are_left_out(monkeypatch):
    monkeypatch.setattr(measure.native._core, "Net", PlayedNet)
    work = measure.TuningJob(get("torchvision", **OPTIONS), [], PLACE, "fp32", "fp32", 1)
    assert {one["key"] for one in measure.tune(work, 1, skip={"a", "graphs"})} == {"b"}


def test_a_gain_within_the_noise_is_none(played, monkeypatch):
    monkeypatch.setattr(PlayedNet, "times", dict(PlayedNet.times, a2=40.0))
    monkeypatch.setattr(PlayedNet, "jitter", 2e-4)
    assert all(one["verdict"] != measure.WINNER for one in played().values())


def test_kernels_that_fail_or_are_wrong_do_not_count(played, monkeypatch):
    monkeypatch.setattr(PlayedNet, "broken", ("a2",))
    monkeypatch.setattr(PlayedNet, "wrong", ("a3",))
    monkeypatch.setattr(PlayedNet, "times", dict(PlayedNet.times, b2=1.0))
    found = played()
    assert (found["a2", 4]["verdict"], found["a2", 4]["reason"]) == (measure.FAILED, "too many registers")
    assert found["a3", 1]["verdict"] == measure.WRONG
    assert found["b2", 1]["verdict"] == measure.WINNER  # its trial was shared with a kernel that fails
    assert found["a2", 1]["ms"] is None


@pytest.mark.parametrize(("on", "off", "kept"), [(1.0, 0.5, ["graphs off"]), (0.5, 1.0, []), (1.0, 1.0, [])])
def test_graphs_are_compared(played, monkeypatch, on, off, kept):
    monkeypatch.setattr(PlayedNet, "whole", {True: on, False: off})
    found = played()
    assert found["on", 0]["layers"] == ["CUDA graph"]
    assert (found["on", 0]["ms"], found["off", 0]["ms"]) == (1e3 * on, 1e3 * off)
    assert trials_of.settings(list(found.values())) == kept
    assert all(rule.key not in trials_of.SETTINGS for rule in measure.rules(list(found.values())))


def setting(ms, batch=1, value="off", verdict=measure.SLOWER, key="graphs"):
    row = {"precision": "fp32", "key": key, "layers": [key], "batch": batch, "candidate": value, "split": 0}
    return dict(row, ms=ms, noise_ms=0.1, verdict=verdict, reason="")


def test_a_setting_must_be_slower_nowhere():
    def base(batch=1, **changes):
        return setting(1.0, batch, "on", measure.DEFAULT, **changes)

    won, noisy, slower = setting(0.5, verdict=measure.WINNER), setting(1.05, 8), setting(1.5, 8)
    assert trials_of.settings([base(), won]) == ["graphs off"]
    assert trials_of.settings([base(), won, base(8), noisy]) == ["graphs off"]
    assert trials_of.settings([base(), won, base(8), slower]) == []
    assert trials_of.settings([base(), won, base(8), dict(slower, ms=None, verdict=measure.FAILED)]) == []
    assert trials_of.settings([base(8), noisy]) == trials_of.settings([]) == []
    frames = [setting(1.0, 1, "mapped", measure.DEFAULT, "frames"), setting(0.5, 1, "copied", measure.WINNER, "frames")]
    assert trials_of.settings([base(), won, *frames]) == ["graphs off", "frames copied"]


def test_settings_are_kept_and_follow_the_device_file():
    won = [setting(1.0, 1, "on", measure.DEFAULT), setting(0.5, verdict=measure.WINNER)]
    user_cache.write_cache(PLACE, [], won)
    assert user_cache.read_cache(PLACE).settings == ["graphs off"]
    chosen = rules.choose(PLACE)
    assert chosen.cached
    assert chosen.text.splitlines()[0] == "graphs on"
    assert chosen.text.splitlines()[-1] == "graphs off"
    # another batch, at which the device's own is better, takes it back
    user_cache.write_cache(PLACE, [], [setting(1.0, 8, "on", measure.DEFAULT), setting(2.0, 8)])
    assert user_cache.read_cache(PLACE).settings == []


@pytest.mark.emulator
def test_the_net_follows_a_setting(parameters):
    assert small(parameters).kernels()["graph"] is True
    user_cache.write_cache(PLACE, [], [setting(1.0, 1, "on", measure.DEFAULT), setting(0.5, verdict=measure.WINNER)])
    net = small(parameters)
    if net._device.gpu != PLACE.gpu:  # the cache belongs to the pretended GPU
        user_cache.write_cache(
            net._device, [], [setting(1.0, 1, "on", measure.DEFAULT), setting(0.5, verdict=measure.WINNER)]
        )
        net = small(parameters)
    assert net.kernels()["graph"] is False
    assert net(batch_of(1)).shape == (1, 7)


def normed():
    """A small network with normalizations, which one kernel fuses with the next pool."""
    options = {"widths": (16, 16, 16, 16, 16, 24, 20), "num_classes": 7, "input_size": 67}
    row = get("bvlc_alexnet", **options)
    return row, initial.check(row, initial.random_weights(row))


@pytest.mark.emulator
def test_fused_pairs_are_compared_with_separate_ones():
    row, arrays = normed()
    work = measure.TuningJob(row, arrays, PLACE, "fp16", "fp16", 1)
    trials = measure.tune(work, repeat=1)
    pair = {one["candidate"]: one for one in trials if one["key"] == "lrn+maxpool"}
    assert pair["separate"]["verdict"] in (measure.WINNER, measure.SLOWER), pair["separate"]
    assert pair["separate"]["ms"] > 0
    assert not [one for one in trials if one["verdict"] in (measure.WRONG, measure.FAILED)]


@pytest.mark.emulator
def test_a_rule_keeps_a_pair_apart():
    row, arrays = normed()
    work = measure.TuningJob(row, arrays, PLACE, "fp32", "fp32", 1)
    fused = measure._TrialNet(work, [])
    apart = measure._TrialNet(work, [Rule("fp32", "lrn+maxpool", 1, 1, "separate")])
    keys = [[step["key"].split()[1] for step in net.describe()] for net in (fused, apart)]
    assert "lrn+maxpool" in keys[0]
    assert "lrn+maxpool" not in keys[1]
    assert {"lrn", "maxpool"} <= set(keys[1])
    np.testing.assert_allclose(apart.result(), fused.result(), rtol=1e-5, atol=1e-6)
    other = measure._TrialNet(work, [Rule("fp32", "lrn+maxpool", 2, 8, "separate")])  # for other batches
    assert [step["key"] for step in other.describe()] == [step["key"] for step in fused.describe()]
    key = next(key for key in keys[0] if key.startswith("fc"))
    single = measure._TrialNet(work, [Rule("fp32", key, 1, 1, "separate")])
    with pytest.raises(UserError, match="separate for fc:"):
        single.describe()


@pytest.mark.emulator
def test_frames_are_compared_where_memory_is_shared(parameters):
    row = get("torchvision", **OPTIONS)
    values = list(parameters.values())
    with emulated.pretend("nano"):
        (gpu,) = device_spec.gpus("emulated")
        place = DeviceSpec("emulated", gpu)
        work = measure.TuningJob(row, values, place, "fp32", "fp32", 1)
        found = measure._setting(work, "frames", 1)
        assert [(one["candidate"], one["layers"]) for one in found] == [
            ("mapped", ["camera frame"]),
            ("copied", ["camera frame"]),
        ]
        assert {one["verdict"] for one in found} <= {measure.DEFAULT, measure.SLOWER, measure.WINNER}
        np.testing.assert_array_equal(
            measure._TrialNet(work, [], "frames copied").frame(), measure._TrialNet(work, [], "frames mapped").frame()
        )
        assert measure._has_mapped_frames(work)
        assert not measure._has_mapped_frames(work._replace(batch=2))
    assert not measure._has_mapped_frames(work._replace(device=PLACE))


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("graphs maybe", r"line 2.*graphs on\|off"),
        ("frames", r"line 2.*frames copied\|mapped"),
        ("layouts two", r"line 2.*both\|one"),
    ],
)
def test_a_setting_of_no_value_is_refused(line, match):
    with pytest.raises(UserError, match=match):
        _core.Net("relu name=r", [1, 2, 2], [], "emulated", tuning="\n" + line)


def test_disagreement():
    expected = np.array([[1.0, -2.0]], np.float32)
    assert measure.disagreement(expected, expected, 1e-3) == ""
    assert "differs by 0.5" in measure.disagreement(expected + 1, expected, 1e-3)
    assert measure.disagreement(np.full_like(expected, np.nan), expected, 1e-3)


def tune_command(*extra):
    return ["tune", "--device", "emulated", "--variant", "alexnet-digits", "--precision", "fp32", "--repeat", 1, *extra]


@pytest.mark.emulator
def test_the_command_tunes_and_saves(capsys, monkeypatch):
    monkeypatch.setattr(measure.native._core, "Net", PlayedNet)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: PlayedNet.now)
    monkeypatch.setattr(PlayedNet, "whole", {True: 1.0, False: 0.5})
    code, out, err = run(capsys, *tune_command("--dry-run"))
    assert (code, err) == (0, "")
    assert "not saved (--dry-run)" in out
    assert not os.path.exists(user_cache.cache_path(PLACE))
    for word in ("a2", "winner", "slower", "default", "relu1, ", "CUDA graph", "1 of 2 layers have a faster kernel"):
        assert word in out
    code, out, err = run(capsys, *tune_command("--batch", 4, 1, "--json"))
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["cache"] == user_cache.cache_path(PLACE)
    assert found["rules"] == ["fp32 a 1-1 a2 split=4", "fp32 a 4-4 a2 split=4"]
    saved = json.loads(Path(found["cache"]).read_text())
    assert saved["rules"] == found["rules"]
    assert saved["settings"] == found["settings"] == ["graphs off"]
    assert "device file: graphs off" in run(capsys, *tune_command("--dry-run"))[1]
    assert {one["verdict"] for one in saved["trials"]} == {"winner", "slower", "default"}


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["tune", "--device", "tensorrt"], "'tensorrt'"),
        (["tune", "--device", "cpu"], "device='cpu'"),
        (["tune", "--device", "emulated", "--batch", 5000], "4096"),
        (["tune", "--device", "emulated", "--variant", "alexnet2021"], "'alexnet2021'"),
        (["tune", "--device", "emulated", "--precision", "fp16", "--fc-weights", "fp32"], "fc_weights='fp32'"),
        (["summary", "--kernels"], "name a variant"),
        (["summary", "alexnet-digits", "--kernels", "--device", "tensorrt"], "'tensorrt'"),
        (["bench", "--device", "cpu", "--precision", "fp16"], "precision='fp16' is not"),
    ],
)
def test_mistakes_on_the_command_line(capsys, arguments, word):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1


@pytest.mark.emulator
def test_tuning_the_real_candidates(parameters):
    work = measure.TuningJob(get("torchvision", **OPTIONS), list(parameters.values()), PLACE, "fp32", "fp32", 1)
    trials = measure.tune(work, repeat=1)
    reasons = [one for one in trials if one["verdict"] in (measure.WRONG, measure.FAILED)]
    assert not reasons
    assert {one["key"].split(":")[0] for one in trials} >= {"conv", "fc", "maxpool"}
    assert sum(one["verdict"] == measure.DEFAULT for one in trials) == len({one["key"] for one in trials})
