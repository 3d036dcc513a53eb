"""What is found in a folder of images, kept, resumed and made anew: neighbors, and the images that a unit likes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, UserError
from fastalex.inspection import neighbors, units
from fastalex.inspection.inputs import computed
from fastalex.variants import VARIANTS
from tests.support.small_net import DIGITS, digit_folder


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Ten pictures, two of them one folder below; two files that cannot be read, and a link to nothing."""
    place = digit_folder(tmp_path / "images", 10, below=2)
    (place / "bad.png").write_bytes(b"no image")
    (place / "empty.jpg").touch()
    (place / "gone.png").symlink_to("nowhere")
    return place


class Builds:
    """Builds of an index or a ranking in one cache, and how many images each has read."""

    def __init__(self, net, folder, cache):
        self.net, self.folder, self.cache = net, str(folder), str(cache)

    def neighbors(self, **options):
        return self._run(neighbors.build, **options)

    def units(self, **options):
        return self._run(units.build, layers=["conv5", "relu7"], **options)

    def _run(self, build, report=None, net=None, **options):
        seen = [0]

        def tell(done, total):
            seen.append(done)
            assert total >= done
            if report:
                report(done, total)

        self.read = seen
        return build(net or self.net, self.folder, cache=self.cache, batch=4, report=tell, **options)


@pytest.fixture
def builds(net, folder, tmp_path):
    return Builds(net, folder, tmp_path / "cache")


def vectors(net, paths, layer):
    return np.concatenate([net.taps(str(path), [layer])[layer].reshape(1, -1) for path in paths]).astype(np.float64)


# neighbors


@pytest.mark.parametrize("layer", [None, "conv5", "prob"])
def test_neighbors_are_those_of_a_search_over_all_vectors(net, builds, folder, layer):
    index = builds.neighbors(layer=layer)
    assert index.layer == (layer or "relu7") and len(index) == 10
    others, own = vectors(net, index.paths, index.layer), vectors(net, DIGITS[12:13], index.layer)
    distances = np.linalg.norm(others - own, axis=1)
    found = index.nearest(net, DIGITS[12], 4)
    assert [near.path for near in found] == [index.paths[row] for row in np.argsort(distances)[:4]]
    np.testing.assert_allclose([near.distance for near in found], np.sort(distances)[:4], rtol=1e-5)
    assert index.nearest(net, folder / "3.png", 99)[0] == (str(folder / "3.png"), 0.0)
    assert len(index.nearest(net, folder / "3.png", 99)) == 10


def test_images_that_cannot_be_read_are_left_out_with_a_sentence(builds):
    for found in (builds.neighbors(), builds.units()):
        assert sorted(found.left_out) == ["bad.png", "empty.jpg", "gone.png"]
        assert "is empty" in found.left_out["empty.jpg"]


@pytest.mark.parametrize("kind", ["neighbors", "units"])
def test_it_is_kept_until_something_changes(builds, folder, kind):
    build = getattr(builds, kind)
    build()
    assert builds.read[-1] == 13
    build()
    assert builds.read == [0], "kept"
    os.utime(folder / "3.png", (1e9, 1e9))
    build()
    assert builds.read[-1] == 13, "an image changed"
    shutil.copy(DIGITS[19], folder / "new.png")
    assert len(getattr(build(), "paths", range(11))) == 11 and builds.read[-1] == 14
    build(profile="torchvision")
    assert builds.read[-1] == 14, "other preprocessing"
    build()
    assert builds.read[-1] == 14
    arrays = builds.net.state_dict()
    arrays["conv1.bias"][0] += 1
    build(net=AlexNet("alexnet-digits", weights=arrays, device="cpu"))
    assert builds.read[-1] == 14, "another network"
    build()
    assert builds.read == [0], "whose index lies beside this one"


def test_an_interrupted_index_is_resumed(net, builds):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        builds.neighbors(report=stop)
    resumed = builds.neighbors()
    assert builds.read == [0, 8, 12, 13]
    np.testing.assert_array_equal(resumed._rows, vectors(net, resumed.paths, "relu7"))


@pytest.mark.parametrize("kind", ["neighbors", "units"])
def test_a_damaged_file_is_made_anew(net, builds, kind, tmp_path):
    def answer(found):
        return found.nearest(net, DIGITS[0], 3) if kind == "neighbors" else found.best("relu7", 3)

    before = answer(getattr(builds, kind)())
    (file,) = (tmp_path / "cache").glob("*/*.np[yz]")
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[:-64], b"\x93NUMPY garbage" + content):
        file.write_bytes(damaged)
        assert answer(getattr(builds, kind)()) == before
        assert builds.read[-1] == 13


@pytest.mark.parametrize("kind", ["neighbors", "units"])
def test_a_folder_that_vanishes_is_one_sentence_and_comes_back(builds, folder, kind):
    away = folder.with_name("away")

    def vanish(done, total):
        if folder.exists():
            folder.rename(away)

    with pytest.raises(UserError, match=r"png' vanished while its folder was read; try again"):
        getattr(builds, kind)(report=vanish)
    away.rename(folder)
    assert sorted(getattr(builds, kind)().left_out) == ["bad.png", "empty.jpg", "gone.png"]


def test_mistakes_are_one_sentence(net, builds, folder, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        neighbors.build(net, str(tmp_path / "nowhere"), cache=str(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="there is no image"):
        units.build(net, str(tmp_path / "none"), ["conv1"], cache=str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    for build, wrap in ((neighbors.build, str), (units.build, lambda layer: [layer])):
        with pytest.raises(UserError, match="has no layer 'conv7'"):
            build(net, str(folder), wrap("conv7"), cache=str(tmp_path))
        with pytest.raises(UserError, match="file/[0-9a-f]{32} cannot be written"):
            build(net, str(folder), wrap("conv1"), cache=str(file))
    for path in folder.rglob("[0-9].png"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="none of the 13 images can be read; the first"):
        builds.neighbors()
    with pytest.raises(UserError, match="none of the 13 images can be used; the first"):
        builds.units()


# units


def test_a_unit_likes_the_images_with_the_highest_values(net, builds):
    ranking = builds.units(count=4)
    paths = [path for path in sorted(Path(builds.folder).rglob("*.png")) if path.stem.isdigit()]
    maps = np.concatenate([net.taps(str(path), ["conv5"])["conv5"] for path in paths])
    for unit in range(64):
        best = ranking.best("conv5", unit)
        highest = maps[:, unit].max(axis=(1, 2))
        order = np.argsort(-highest, kind="stable")[:4]
        assert [liked.path for liked in best] == [str(paths[row]) for row in order]
        for liked, row in zip(best, order):
            assert maps[row, unit, liked.row, liked.column] == highest[row] == np.float32(liked.value)
    assert len(ranking.best("relu7", 0)) == 4 and ranking.layers == ["conv5", "relu7"]
    with pytest.raises(UserError, match="there is no unit 64"):
        ranking.best("conv5", 64)
    with pytest.raises(UserError, match="the images were not ranked for the layer 'conv4'; there are: conv5, relu7"):
        ranking.best("conv4", 0)


def test_a_folder_of_few_images_has_fewer_favorites(builds):
    assert len(builds.units(count=99).best("conv5", 0)) == 10


@pytest.mark.parametrize("variant", ["alexnet2012-original", "torchvision", "caffenet"])
@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "pool2", "conv3"])
def test_the_field_of_a_place_is_what_it_depends_on(variant, layer):
    """Outside the field the input may change; at its corners a change reaches the place, unless a pool hides it."""
    net = AlexNet(variant, device="naive", num_classes=2, widths=(4, 4, 4, 4, 4, 4, 4), activation="leaky_relu(0.5)")
    size = net.variant.input_size
    row, column = computed(net.variant)[layer].out_shape[1] // 2, 1
    left, top, right, bottom = units.field(net.variant, layer, row, column)
    reached = {(top, left): False, (bottom - 1, right - 1): False}
    generator = np.random.default_rng(2)
    for _ in range(20):
        x, outside = generator.random((2, 1, 3, size, size), np.float32)
        outside[..., top:bottom, left:right] = x[..., top:bottom, left:right]
        batch = np.concatenate([x, outside, x, x])
        for picture, (y, x_place) in zip(batch[2:], reached):
            picture[:, y, x_place] += 30
        results = net.taps(batch, [layer])[layer][:, :, row, column]
        np.testing.assert_array_equal(results[1], results[0])
        reached = {place: seen or np.any(now != results[0]) for (place, seen), now in zip(reached.items(), results[2:])}
        if all(reached.values()):
            return
    raise AssertionError(f"a corner does not reach the place: {reached}")


def test_a_vector_depends_on_all_of_the_input():
    row = VARIANTS["torchvision"]
    assert units.field(row, "fc7", 0, 0) == units.field(row, "prob", 0, 0) == (0, 0, 224, 224)
    with pytest.raises(UserError, match="there is no column 13"):
        units.field(row, "conv5", 0, 13)
