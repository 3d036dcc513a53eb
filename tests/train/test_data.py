"""Training images: crops, reflections, colors, statistics, folders and shards."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from fastalex import images, variants
from fastalex.errors import UserError
from fastalex.images import profiles
from fastalex.train import augmentation, color, data, recipes

cv2 = pytest.importorskip("cv2")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peers

ROW = variants.get("alexnet2012", input_size=67, widths=(8, 16, 24, 24, 16, 32, 32), num_classes=3)


def picture(seed, height=90, width=120):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def folders(tmp_path):
    for name in ("ant", "bee", "cat"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "set" / name / (f"{number}.png")).write_bytes(png(picture(number, 80, 80)))
    return tmp_path / "set"


# Crops and reflections ------------------------------------------------------------------------------------------------


def test_the_paper_s_2048_views_by_enumeration():
    """Section 4.1: 'extracting random 224 x 224 patches (and their horizontal reflections)' of 256 x 256 images
    'increases the size of our training set by a factor of 2048'."""
    found = augmentation.views(256, 256, 224, "paper", True)
    assert len(found) == len(set(found)) == 2048 == 32 * 32 * 2
    canvas = np.arange(256 * 256).reshape(256, 256)
    distinct = {canvas[v.top : v.top + 224, v.left : v.left + 224][:, :: -1 if v.flip else 1].tobytes() for v in found}
    assert len(distinct) == 2048


def test_the_released_code_s_views_by_enumeration():
    """convdata.py: nr.randint(0, border_size * 2 + 1) on both axes, with a border of 16, and nr.randint(2)."""
    found = augmentation.views(256, 256, 224, "inclusive", True)
    assert len(set(found)) == 33 * 33 * 2
    assert max(view.top for view in found) == 32
    assert len(augmentation.views(256, 256, 227, "paper", True)) == 29 * 29 * 2
    assert len(augmentation.views(67, 67, 67, "paper", False)) == 1


@pytest.mark.parametrize(("crop", "flip"), [("paper", True), ("inclusive", True), ("inclusive", False)])
def test_training_draws_every_view_and_no_other(crop, flip):
    """All views of a 76-pixel image occur, as often as each other (chi-square, five standard deviations)."""
    make = augmentation.Training(ROW, recipes.get("paper", crop=crop, flip=flip, color="off"), None, 0, 0)
    side = profiles.get(ROW.profile).side_for(67)
    wanted = augmentation.views(side, side, 67, crop, flip)
    draws = 40 * len(wanted)
    counts = dict.fromkeys(wanted, 0)
    for place in range(draws):
        counts[make._view((side, side), make._stream(place, 0))] += 1
    freedom = len(wanted) - 1
    chi = sum((count - 40) ** 2 / 40 for count in counts.values())
    assert abs(chi - freedom) < 5 * (2 * freedom) ** 0.5


def test_a_training_image_is_its_view_of_the_resized_picture():
    recipe = recipes.get("paper", color="off", mean_image=False)
    make = augmentation.Training(ROW, recipe, None, 3, 1)
    profile = profiles.get(ROW.profile)
    resized = cv2.cvtColor(picture(0, 76, 76), cv2.COLOR_RGB2BGR)  # already of the final size: not resampled
    for place in range(6):
        view = make._view((76, 76), make._stream(place, 0))
        crop = resized[view.top : view.top + 67, view.left : view.left + 67]
        crop = cv2.flip(crop, 1) if view.flip else crop
        blob = cv2.dnn.blobFromImage(crop, 1.0, (67, 67), profile.mean, swapRB=True)[0]
        np.testing.assert_allclose(make(picture(0, 76, 76), place), blob, rtol=0, atol=1e-4)  # 255 in float32: 3e-5


def test_the_original_s_32_images_share_a_view_but_not_the_colors():
    """convdata.py: crop_chunk = 32; the noise is drawn for each image."""
    statistics = gathered([picture(i, 76, 76) for i in range(3)])
    make = augmentation.Training(ROW, recipes.get("original"), statistics, 0, 0)
    same = [make._view((76, 76), make._stream(place // 32, 0)) for place in range(64)]
    assert len(set(same[:32])) == len(set(same[32:])) == 1
    inputs = [make(picture(0, 76, 76), place) for place in (0, 1)]
    shifts = (inputs[0] - inputs[1]).reshape(3, -1)
    assert (shifts.std(1) < 1e-3).all() and (np.abs(shifts.mean(1)) > 1e-2).any()


def test_resized_crops_have_torchvision_s_areas_and_shapes():
    stream = np.random.default_rng(0)
    whole = Image.fromarray(picture(0, 100, 150))
    boxes = []

    class Spy:
        size = whole.size

        def resize(self, size, method, box):
            boxes.append(box)
            return whole.resize(size, method, box=box)

    for _ in range(400):
        assert augmentation.resized_crop(Spy(), 32, stream).shape == (32, 32, 3)
    sides = np.array([(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes])
    share = sides.prod(1) / 15000
    aspect = sides[:, 0] / sides[:, 1]
    assert share.min() > 0.075 and share.max() <= 1.0  # 0.08 less the rounding of the sides
    assert share.min() < 0.12 and share.max() > 0.85
    assert aspect.min() > 0.7 and aspect.max() < 1.4
    with Image.fromarray(picture(0, 4, 400)) as strip:  # no crop fits: the center is taken
        assert augmentation.resized_crop(strip, 8, stream).shape == (8, 8, 3)


def test_jitter_stays_within_its_limits():
    gray = Image.new("RGB", (20, 20), (100, 100, 100))
    stream = np.random.default_rng(0)
    values = [np.asarray(augmentation.jittered(gray, 0.1, stream)).mean() for _ in range(50)]
    assert 89 <= min(values) < 95 and 105 < max(values) <= 111
    red = [np.asarray(augmentation.jittered(Image.new("RGB", (4, 4), (200, 50, 50)), 0.1, stream)) for _ in range(30)]
    assert max(pixel[0, 0, 1] for pixel in red) > 70  # the hue changes


# Colors --------------------------------------------------------------------------------------------------------------


def gathered(pictures):
    sums = color.Gatherer(pictures[0].shape[0])
    for one in pictures:
        sums.add(one)
    return sums.result()


def test_statistics_against_opencv_and_in_any_order():
    pictures = [(picture(i, 40, 40).astype(float) * (1, 0.6, 0.3) + 20).astype(np.uint8) for i in range(7)]
    found, back = gathered(pictures), gathered(pictures[::-1])
    pixels = np.concatenate([one.reshape(-1, 3) for one in pictures]) / 255.0
    _, vectors, values = cv2.PCACompute2(pixels, None)
    np.testing.assert_allclose(found.eigenvalues, values[:, 0], rtol=1e-10)
    for own, other in zip(found.eigenvectors.T, vectors):
        assert abs(own @ other) == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(found.mean, np.mean(pictures, 0).transpose(2, 0, 1), rtol=1e-6)
    for one, other in zip(found, back):
        assert np.array_equal(one, other)


def test_noise_has_the_size_of_each_reading():
    """The two readings of section 4.1, with the components of ImageNet that are in common use: 5.5 and 11.9 gray levels
    along the first (github.com/facebookarchive/fb.resnet.torch, datasets/imagenet.lua)."""
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    imagenet = color.Statistics(np.zeros((3, 1, 1)), np.array([0.2175, 0.0188, 0.0045]), vectors, 1)
    alphas = 0.1 * np.random.default_rng(0).standard_normal((20000, 3))
    for mode, levels in (("eigenvalues", 5.5), ("deviations", 11.9)):
        along = np.array([imagenet.shift(one, mode) @ vectors[:, 0] for one in alphas])
        assert along.std() == pytest.approx(levels, rel=0.03)  # five standard errors of 20000 draws are 2.5 %


def test_color_noise_is_one_shift_for_an_image_and_ends_with_its_epoch():
    statistics = gathered([picture(i, 76, 76) for i in range(4)])
    recipe = recipes.get("original", chunk=1)
    plain = augmentation.Training(ROW, recipes.get(recipe, color="off"), statistics, 0, 0)
    noisy = augmentation.Training(ROW, recipe, statistics, 0, 0)
    shift = 1.1 * noisy(picture(9, 76, 76), 5) - plain(picture(9, 76, 76), 5)  # divided by 1.1 after the noise
    assert shift.reshape(3, -1).std(1).max() < 1e-4
    assert np.abs(shift).max() > 0.1
    ended = augmentation.Training(ROW, recipe, statistics, 0, 67)
    off = augmentation.Training(ROW, recipes.get(recipe, color="off"), statistics, 0, 67)
    assert np.array_equal(ended(picture(9, 76, 76), 5), off(picture(9, 76, 76), 5))


def test_mean_image_is_subtracted_in_training_and_evaluation():
    statistics = gathered([picture(i, 76, 76) for i in range(4)])
    recipe = recipes.get("paper", crop="center", color="off", flip=False)
    trained = augmentation.Training(ROW, recipe, statistics, 0, 0)(picture(5, 76, 76), 0)
    evaluated = augmentation.Evaluation(ROW, recipe, statistics)(picture(5, 76, 76), 0)
    by_hand = (picture(5, 76, 76).transpose(2, 0, 1) - statistics.mean.astype(np.float32))[:, 4:71, 4:71]
    np.testing.assert_allclose(trained, by_hand, atol=1e-4)
    assert np.array_equal(trained, evaluated)
    bgr = variants.get(ROW, profile="caffe")
    assert np.array_equal(augmentation.mean_image(bgr, recipe, statistics), statistics.mean[::-1].astype(np.float32))


# Folders, shards, batches ---------------------------------------------------------------------------------------------


def test_folders_are_classes_in_order(folders):
    found = data.find(str(folders))
    assert found.classes == ["ant", "bee", "cat"]
    assert [sample.label for sample in found.samples] == [0] * 6 + [1] * 6 + [2] * 6
    training, validation = data.train_and_validation(str(folders), None, 0.34, 0)
    assert (len(training.samples), len(validation.samples)) == (12, 6)
    assert not {s.path for s in training.samples} & {s.path for s in validation.samples}
    assert [sum(s.label == k for s in validation.samples) for k in range(3)] == [2, 2, 2]


def write_shard(path, entries):
    with tarfile.open(path, "w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_shards_hold_the_same_images_as_folders(folders, tmp_path):
    found = data.find(str(folders))
    place = tmp_path / "shards"
    place.mkdir()
    for shard in range(3):
        entries = []
        for number in range(shard, 18, 3):
            sample = found.samples[number]
            with open(sample.path, "rb") as stream:
                entries.append((f"{number:06}.png", stream.read()))
            entries += [(f"{number:06}.cls", b"%d" % sample.label), (f"{number:06}.json", b"{}")]
        write_shard(place / (f"train-{shard:03}.tar"), entries)
    assert data.find(str(place)).classes == ["0", "1", "2"]
    (place / "classes.txt").write_text("ant\nbee\ncat\n", encoding="utf-8")
    packed = data.find(str(place / "train-*.tar"))
    assert packed.classes == found.classes
    by_name = {sample.name: sample for sample in packed.samples}
    assert len(by_name) == 18
    for number, sample in enumerate(found.samples):
        other = by_name[f"{number:06}.png"]
        assert other.label == sample.label
        assert images.open_image(other.source()).tobytes() == images.open_image(sample.source()).tobytes()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ("missing", "not a folder"),
        ("flat", "no folders"),
        ("empty", "'void'.*no image"),
        ("tar", r"x\.tar cannot be read"),
        ("unlabeled", r"\.cls"),
        ("names", "1 names.*class 4"),
    ],
)
def test_data_that_cannot_be_used_says_why(folders, tmp_path, wrong, match):
    place = tmp_path / wrong
    if wrong in ("flat", "unlabeled", "names"):
        place.mkdir()
    if wrong == "empty":
        (folders / "void").mkdir()
        place = folders
    if wrong == "tar":
        place = tmp_path / "x.tar"
        place.write_bytes(b"no archive" * 100)
    if wrong in ("unlabeled", "names"):
        entries = [("a.png", png(picture(0)))] + ([("a.cls", b"4")] if wrong == "names" else [])
        write_shard(place / "x.tar", entries)
        (place / "classes.txt").write_text("one\n", encoding="utf-8")
    with pytest.raises(UserError, match=match):
        data.find(str(place))


def test_validation_must_have_the_classes_of_the_training(folders, tmp_path):
    (tmp_path / "val" / "bee").mkdir(parents=True)
    (tmp_path / "val" / "bee" / "1.png").write_bytes(png(picture(1)))
    training, validation = data.train_and_validation(str(folders), str(tmp_path / "val"), 0.1, 0)
    assert [sample.label for sample in validation.samples] == [1]
    assert validation.classes == training.classes
    (tmp_path / "val" / "dog").mkdir()
    (tmp_path / "val" / "dog" / "1.png").write_bytes(png(picture(1)))
    with pytest.raises(UserError, match="'dog'"):
        data.train_and_validation(str(folders), str(tmp_path / "val"), 0.1, 0)


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_shares_of_a_batch_are_equal_and_cover_it_once(shares):
    indices = data.order(50, 0, 2)
    assert sorted(indices) == list(range(50))
    rows = [list(data.Batches(indices, 12, 1, rank, shares)) for rank in range(shares)]
    assert {len(batches) for batches in rows} == {4}
    for number, parts in enumerate(zip(*rows)):
        assert len({len(part) for part in parts}) == 1
        whole = [key for part in parts for key in part if key != (-1, -1)]
        first = 12 + 12 * number
        assert whole == [(place, indices[place]) for place in range(first, min(50, first + 12))]


def batches_of(folders, workers, rank=0, shares=1, epoch=0):
    found = data.find(str(folders))
    statistics = gathered([picture(i, 76, 76) for i in range(3)])
    make = augmentation.Training(ROW, recipes.get("paper"), statistics, 11, epoch)
    dataset = data.Dataset(found, make, np.zeros((3, 67, 67), np.float32))
    share = data.Batches(data.order(18, 11, epoch), 6, 0, rank, shares)
    return list(data.loader(dataset, share, workers))


def test_the_same_images_whatever_the_workers_and_processes(folders):
    alone = batches_of(folders, 0)
    for again in (batches_of(folders, 1), batches_of(folders, 2)):
        for one, other in zip(alone, again):
            assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    halves = [batches_of(folders, 0, rank, 2) for rank in (0, 1)]
    for one, first, second in zip(alone, *halves):
        assert torch.equal(one.images, torch.cat([first.images, second.images]))
    assert not torch.equal(alone[0].images, batches_of(folders, 0, epoch=1)[0].images)


def test_a_corrupt_image_leaves_its_row_empty_and_is_counted(folders, tmp_path):
    clean = batches_of(folders, 0)
    broken = data.find(str(folders)).samples[7].path
    with open(broken, "r+b") as stream:
        stream.truncate(60)
    found = batches_of(folders, 2)
    bad = data.BadImages(str(tmp_path / "bad.jsonl"), 1)
    lost = 0
    for one, other in zip(clean, found):
        kept = other.labels != data.IGNORED
        lost += int((~kept).sum())
        assert torch.equal(one.images[kept], other.images[kept])
        assert (other.images[~kept] == 0).all()
        bad.add(other.bad)
        bad.add(other.bad)  # found again in the next epoch
    assert lost == 1
    bad.check()
    (line,) = (tmp_path / "bad.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["image"] == broken
    bad.add([("another", "gone")])
    with pytest.raises(UserError, match="2 images.*--bad-limit 1"):
        bad.check()
