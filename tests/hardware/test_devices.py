"""The device files, the figures derived from them, and recognition of machines."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from fastalex.errors import UserError
from fastalex.hardware import devices, roofline

NAMES = {path.stem for path in (Path(__file__).resolve().parents[2] / "devices").glob("*.toml")}


def probes(board=None, smi=None, meminfo=None, cpuinfo=None, machine="x86_64"):
    return devices.Probes(
        device_tree_model=lambda: board,
        nvidia_smi=lambda: smi,
        cpuinfo=lambda: cpuinfo,
        meminfo=lambda: meminfo,
        machine=lambda: machine,
    )


def mem(mib):
    return f"MemTotal:       {mib * 1024} kB\nMemFree:  1 kB\n"


def test_every_device_loads():
    assert set(devices.load_all()) == NAMES
    for device in devices.load_all().values():
        assert device.cards
        assert len({card.name for card in device.cards}) == len(device.cards)
        for card in device.cards:
            assert card.peak_tflops("fp32") > 0
            assert card.bandwidth_gb_s > 0
            assert card.memory_gib > 0


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_number_names_a_source(name):
    text = (devices.directory() / (name + ".toml")).read_text(encoding="utf-8")
    defined = set(re.findall(r"^#\s+\[(\w+)\]", text, re.MULTILINE))
    for line in text.splitlines():
        if re.match(r"\w+ = (\d|true)", line):
            marks = re.findall(r"\[(\w+)\]", line.partition("#")[2])
            assert marks, line
            assert set(marks) - {"rates"} <= defined, line


PEAKS = [  # TFLOPS: card, fp32, fp16 with half2 or (fp16 accumulate, fp32 accumulate) on tensor cores
    ("nano", "Jetson Nano 4GB", 0.236, 0.472),
    ("tx2", "Jetson TX2 8GB", 0.666, 1.33),
    ("gtx1650", "GeForce GTX 1650 (GDDR5)", 2.98, 5.97),
    ("rtx20", "RTX 2060", 6.45, (51.6, 25.8)),
    ("rtx20", "RTX 2080 Ti", 13.45, (107.6, 53.8)),
    ("rtx30", "RTX 3060", 12.7, (51, 25.5)),
    ("rtx30", "RTX 3090", 35.6, (142, 71)),
    ("rtx40", "RTX 4090", 82.6, (330, 165)),
    ("rtx50", "RTX 5090", 104.8, (419, 209)),
    ("h200", "H200 SXM", 67, (989, 989)),
]


@pytest.mark.parametrize(("device", "name", "fp32", "half"), PEAKS)
def test_derived_peaks(device, name, fp32, half):
    card = devices.get(device).card(name)
    assert card.peak_tflops("fp32") == pytest.approx(fp32, rel=4e-3)
    if isinstance(half, tuple):
        assert card.peak_tflops("fp16_tensor") == pytest.approx(half[0], rel=4e-3)
        assert card.peak_tflops("fp16_tensor_fp32") == pytest.approx(half[1], rel=4e-3)
    else:
        assert card.peak_tflops("fp16") == pytest.approx(half, rel=4e-3)
        assert card.peak_tflops("fp16_tensor") is None
    with pytest.raises(UserError, match="rate"):
        card.peak_tflops("fp64")


def test_traps_of_the_boards():
    for name in ("nano", "tx2"):
        board = devices.get(name)
        assert board.limits["registers_per_block"] == 32768
        assert not board.abilities["dp4a"]
        assert board.software["cuda"] == "10.2"
    turing, plain = devices.get("rtx20"), devices.get("gtx1650")
    assert turing.compute_capability == plain.compute_capability == (7, 5)
    assert turing.abilities["mma"]
    assert not plain.abilities["mma"]
    assert not plain.abilities["tensor_cores"]
    assert not any("m16n8k16" in shape for shape in turing.abilities["mma"])
    for device in devices.load_all().values():
        assert device.abilities["cp_async"] == (device.compute_capability >= (8, 0))
        assert device.abilities["tensor_cores"] == bool(device.abilities["mma"])


MACHINES = [
    (probes("NVIDIA Jetson Nano Developer Kit\0", meminfo=mem(3956)), "nano", "Jetson Nano 4GB"),
    (probes("NVIDIA Jetson Nano 2GB Developer Kit\0", meminfo=mem(1980)), "nano", None),
    (probes("quill\0", meminfo=mem(7858)), "tx2", "Jetson TX2 8GB"),
    (probes("NVIDIA Jetson TX2 Developer Kit\0"), "tx2", "Jetson TX2 8GB"),
    (probes("NVIDIA Jetson TX2 NX Developer Kit\0", meminfo=mem(3800)), "tx2", None),
    (probes("NVIDIA Jetson Orin Nano Developer Kit\0", smi="Orin (nvgpu), [N/A]\n", meminfo=mem(7620)), "orin", None),
    (probes("NVIDIA Orin NX Developer Kit\0", meminfo=mem(15300)), "orin", "Jetson Orin NX 16GB"),
    (probes("NVIDIA Orin NX Developer Kit\0", meminfo=mem(7620)), "orin", None),
    (probes("NVIDIA Jetson AGX Orin Developer Kit\0", meminfo=mem(62841)), "orin", "Jetson AGX Orin 64GB"),
    (probes(smi="NVIDIA GeForce GTX 1650, 4096\n"), "gtx1650", None),
    (probes(smi="GeForce GTX 1650\n"), "gtx1650", None),
    (probes(smi="NVIDIA GeForce RTX 2080 Ti, 11264\n"), "rtx20", "GeForce RTX 2080 Ti"),
    (probes(smi="NVIDIA GeForce RTX 3060, 12288\n"), "rtx30", "GeForce RTX 3060"),
    (probes(smi="NVIDIA GeForce RTX 3060 Laptop GPU, 6144\n"), "rtx30", None),
    (probes(smi="NVIDIA GeForce RTX 3080, 12288\n"), "rtx30", "GeForce RTX 3080 12 GB"),
    (probes(smi="NVIDIA GeForce RTX 3090, 24576\n"), "rtx30", "GeForce RTX 3090"),
    (probes(smi="NVIDIA GeForce RTX 4060 Ti, 16380\n"), "rtx40", "GeForce RTX 4060 Ti 16 GB"),
    (probes(smi="NVIDIA GeForce GTX 1080, 8192\nNVIDIA GeForce RTX 5090, 32607\n"), "rtx50", "GeForce RTX 5090"),
    (probes(smi="NVIDIA H200, 143771\n"), "h200", "H200 SXM"),
]


@pytest.mark.parametrize(("machine", "device", "card"), MACHINES)
def test_recognize(machine, device, card):
    found = devices.recognize(machine)
    assert found.device is devices.get(device)
    assert (found.card.name if found.card else None) == card
    assert "says" in found.reason or "names" in found.reason


def test_ambiguous_card_is_said():
    reason = devices.recognize(probes(smi="NVIDIA GeForce GTX 1650, 4096\n")).reason
    assert "GeForce GTX 1650 (GDDR5) or GeForce GTX 1650 (GDDR6)" in reason


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (probes(), "nvidia-smi is missing"),
        (probes(smi=""), "names no GPU"),
        (probes(smi="NVIDIA GH200 480GB, 97871\nQuadro RTX 4000, 8192\n"), "'NVIDIA GH200 480GB', 'Quadro RTX 4000'"),
        (probes("Raspberry Pi 5 Model B Rev 1.0\0"), "Raspberry Pi 5"),
        (probes("NVIDIA Jetson Xavier NX Developer Kit\0"), "Xavier"),
    ],
)
def test_unknown_machines_have_a_reason(machine, words):
    found = devices.recognize(machine)
    assert found.device is None
    assert found.card is None
    assert words in found.reason


def test_nvidia_smi_never_raises():
    python = sys.executable
    assert devices.run_nvidia_smi(("no-such-program-here",)) is None
    assert devices.run_nvidia_smi((python, "-c", "raise SystemExit(9)")) is None
    assert devices.run_nvidia_smi((python, "-c", "import time; time.sleep(30)"), timeout_s=0.2) is None
    assert devices.run_nvidia_smi((python, "-c", "print('NVIDIA H200, 143771')")).strip() == "NVIDIA H200, 143771"


def test_get_and_card_name_the_nearest():
    with pytest.raises(UserError, match="did you mean 'tx2'"):
        devices.get("txx2")
    family = devices.get("rtx30")
    assert family.card("rtx 3090") is family.card("NVIDIA GeForce RTX 3090")
    with pytest.raises(UserError, match="GeForce RTX 3090"):
        family.card("RTX 3091")


def test_cpu_x86_and_arm():
    x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\n"
    found = devices.cpu(probes(cpuinfo=x86))
    assert (found.model, found.cores, found.isa) == ("Some CPU @ 2.00GHz", 2, ("fpu", "avx2", "fma"))
    arm = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd07\n" * 4
    found = devices.cpu(probes("NVIDIA Jetson Nano Developer Kit\0", cpuinfo=arm, machine="aarch64"))
    assert (found.cores, found.isa, found.machine) == (4, ("fp", "asimd"), "aarch64")
    assert "0xd07" in found.model
    assert "Jetson Nano" in found.model
    assert devices.cpu(probes()).model == "unknown x86_64"


# An independent calculation of the same sum, rounded as printed there: ms of alexnet2012.
# device, card, (batch 1: fp32, fp16, int8, int4), fc share of fp16 in %, (batch 16: fp32, fp16, int8), (batch 64)
FLOORS = [
    ("nano", "Jetson Nano 4GB", "14.81 7.40 5.11 4.01", 62, "99.5 49.8 49.1", "393 196 196"),
    ("tx2", "Jetson TX2 8GB", "5.93 2.97 1.98 1.51", 66, "36.0 18.0 17.4", "139 69.6 69.6"),
    ("gtx1650", "GeForce GTX 1650 (GDDR5)", "2.28 1.14 0.68 0.46", 80, "8.99 4.49 4.04", "31.1 15.5 15.5"),
    ("rtx20", "RTX 2060", "0.91 0.40 0.226 0.142", 87, "4.01 1.18 1.00", "14.4 3.66 3.59"),
    ("rtx20", "RTX 2080 Ti", "0.48 0.215 0.120 0.074", 88, "1.97 .588 .493", "6.89 1.78 1.72"),
    ("rtx30", "RTX 3060", "0.76 0.378 0.215 0.136", 86, "2.33 1.16 1.00", "7.36 3.68 3.64"),
    ("rtx30", "RTX 3090", "0.288 0.144 0.081 0.051", 87, ".851 .425 .363", "2.65 1.33 1.30"),
    ("rtx40", "RTX 4090", "0.250 0.125 0.067 0.039", 93, ".492 .246 .188", "1.27 .636 .577"),
    ("rtx50", "RTX 5090", "0.144 0.072 0.039 0.023", 91, ".335 .168 .135", ".948 .474 .443"),
    ("h200", "H200 SXM", "0.069 0.026 0.014 0.008", 94, ".368 .046 .034", "1.39 .111 .099"),
]


@pytest.mark.parametrize(("device", "name", "one", "share", "sixteen", "sixty_four"), FLOORS)
def test_roofline_agrees_with_an_independent_sum(device, name, one, share, sixteen, sixty_four):
    card = devices.get(device).card(name)
    for batch, printed in ((1, one), (16, sixteen), (64, sixty_four)):
        for precision, figure in zip(roofline.PRECISIONS, printed.split()):
            unit = 10.0 ** -len(figure.partition(".")[2])
            got = roofline.roofline("alexnet2012", card, precision, batch).ms
            assert abs(got - float(figure)) <= 0.6 * unit + 1e-3 * got, (batch, precision, got, figure)
    assert 100 * roofline.roofline("alexnet2012", card, "fp16").fc_share == pytest.approx(share, abs=0.6)


def test_roofline_by_hand():
    """fc8 of alexnet2012 on a Nano in fp16: 4,096,000 weights, 1000 biases, 4096 in, 1000 out, 2 bytes each."""
    card = devices.get("nano").card("Jetson Nano 4GB")
    found = roofline.roofline("alexnet2012", card, "fp16", 2)
    fc8 = found.layers[-1]
    assert fc8.name == "fc8"
    assert fc8.bound == "memory"
    assert fc8.bytes == 2 * (4096000 + 1000 + 2 * (4096 + 1000))
    assert fc8.ms == pytest.approx(fc8.bytes / 25.6e9 * 1e3)
    conv1 = found.layers[0]
    assert conv1.bound == "compute"
    assert conv1.flop == 2 * 2 * 105415200
    assert conv1.ms == pytest.approx(conv1.flop / (921.6e6 * 256 * 2) * 1e3)
    assert found.ms == pytest.approx(sum(layer.ms for layer in found.layers))
    assert found.images_per_s == pytest.approx(2000 / found.ms)
    assert [layer.op for layer in found.layers] == ["conv"] * 5 + ["fc"] * 3
    assert found.to_dict()["predicted"] is True


def test_roofline_of_skipped_weights_by_hand():
    """fc7 of alexnet2012 on a Nano: 4096 x 4096 weights, of which a quarter meets an input that is not zero."""
    card = devices.get("nano").card("Jetson Nano 4GB")
    dense = roofline.roofline("alexnet2012", card, "int8")
    found = roofline.roofline("alexnet2012", card, "int8", density=(0.5, 0.25, 1))
    fc7 = found.layers[-2]
    assert fc7.name == "fc7"
    assert fc7.bytes == 4096 * 4096 // 4 + 2 * (4096 + 4096 + 4096), "int8 weights; biases, inputs, outputs in fp16"
    assert fc7.flop == 2 * 4096 * 4096 / 4
    assert fc7.ms == pytest.approx(fc7.bytes / 25.6e9 * 1e3)
    assert found.layers[-1] == dense.layers[-1], "a density of 1"
    assert found.layers[:5] == dense.layers[:5], "convolutions skip nothing"
    assert found.title == "int8, 50/25/100 %"
    assert roofline.roofline("alexnet2012", card, "int8", density=[0.35] * 3).title == "int8, 35 %"
    assert dense.title == "int8"
    assert found.to_dict()["density"] == [0.5, 0.25, 1]
    assert dense.to_dict()["density"] is None


# An independent sum, as FLOORS: fp16, int8 and int4 at batch 1, with 35, 35 and 37.5 % of the inputs of fc6, fc7, fc8.
SKIPPED = [
    ("nano", "Jetson Nano 4GB", (4.44, 3.63, 3.25)),
    ("tx2", "Jetson TX2 8GB", (1.70, 1.35, 1.18)),
    ("gtx1650", "GeForce GTX 1650 (GDDR5)", (0.55, 0.38, 0.31)),
    ("rtx30", "RTX 3090", (0.063, 0.040, 0.030)),
]


@pytest.mark.parametrize(("device", "name", "floors"), SKIPPED)
def test_roofline_of_skipped_weights_agrees_with_an_independent_sum(device, name, floors):
    card = devices.get(device).card(name)
    for precision, floor in zip(("fp16", "int8", "int4"), floors):
        found = roofline.roofline("alexnet2012", card, precision, density=(0.35, 0.35, 0.375)).ms
        assert found == pytest.approx(floor, rel=0.025), precision


def test_roofline_refuses_what_it_does_not_know():
    orin = devices.get("orin").card("Jetson Orin NX 16GB")
    with pytest.raises(UserError, match="not known"):
        roofline.roofline("alexnet2012", orin, "fp16")
    with pytest.raises(UserError, match="precision"):
        roofline.roofline("alexnet2012", orin, "fp8")
    with pytest.raises(UserError, match="batch"):
        roofline.roofline("alexnet2012", orin, "fp32", 0)
    with pytest.raises(UserError, match="batch 1, not 2"):
        roofline.roofline("alexnet2012", orin, "fp32", 2, (0.5, 0.5, 0.5))
    for wrong in ((0.5,), (0.5, 0.5, 1.5), (0.5, 0.5, float("nan"))):
        with pytest.raises(UserError, match="each of fc6, fc7, fc8"):
            roofline.roofline("alexnet2012", orin, "fp32", 1, wrong)
