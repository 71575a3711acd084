"""Objects with foreign textures."""

import json

import cv2
import numpy as np
import pytest
from mmdet.structures.mask import BitmapMasks

from samplug.converters.texture_augment import texture_augment
from samplug.datasets.texturing import apply_surfaces, draw_surfaces, make_surface, texture_source
from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError, DataError
from tests.builders import write_sa1b


@pytest.fixture(scope="module")
def image():
    y, x = np.mgrid[:40, :60]
    return np.dstack([60 + 2 * x, 80 + y, 40 + x + y]).astype(np.uint8)


@pytest.fixture(scope="module")
def mask():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 0:35] = True  # at the border of the image
    return mask


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtd")
    (folder / "striped").mkdir()
    cv2.imwrite(str(folder / "striped" / "striped_0001.png"), np.full((30, 20, 3), (9, 200, 30), np.uint8))
    return folder


def texture_of(size, value=(200, 10, 100)):
    return np.full((*size, 3), value, np.uint8)


def test_degrees(image, mask):
    surface = make_surface(image, mask, texture_of((20, 35)), "nothing", feather=0)
    assert np.array_equal(apply_surfaces(image, [surface], 0), image)
    full = apply_surfaces(image, [surface], 1)
    assert (full[mask] == (200, 10, 100)).all()
    assert np.array_equal(full[~mask], image[~mask])
    half = apply_surfaces(image, [surface], 0.5).astype(int)
    assert np.abs(2 * half - full - image)[mask].max() <= 1


def test_textures_fade_in_from_outlines_inside_the_image(image, mask):
    surface = make_surface(image, mask, texture_of((20, 35)), "nothing", feather=3)
    assert np.array_equal(apply_surfaces(image, [surface], 1)[~mask], image[~mask])
    np.testing.assert_allclose(surface.alpha[10, -4:], [1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("keep", ["luminance", "shading"])
def test_luminance_is_kept(image, mask, keep):
    texture = np.random.default_rng(0).integers(0, 255, (20, 35, 3), dtype=np.uint8)
    full = apply_surfaces(image, [make_surface(image, mask, texture, keep, feather=0)], 1)
    before, after = (cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB)[..., 0][mask].astype(float) for pixels in (image, full))
    assert after.mean() == pytest.approx(before.mean(), abs=4)
    if keep == "luminance":
        assert after.std() == pytest.approx(before.std(), rel=0.3)
    else:
        assert np.corrcoef(before, after)[0, 1] > 0.8
    assert not np.array_equal(full[mask], image[mask])


def test_sources(photos, tmp_path):
    rng = np.random.default_rng(0)
    assert (texture_source(photos).draw(rng, (50, 70)) == (9, 200, 30)).all()
    generated = texture_source(None).draw(rng, (300, 20))
    assert generated.shape == (300, 20, 3)
    assert generated.std() > 1
    with pytest.raises(DataError, match="holds no images"):
        texture_source(tmp_path)


def test_share_of_objects(image, mask):
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    surfaces = draw_surfaces(image, [mask] * 39 + [mask & False], texture_source(None), rngs, share=0.5)
    assert 10 < len(surfaces) < 30


def build(**kwargs):
    return TRANSFORMS.build(dict(type="TextureAugment", **kwargs))


def sample(image, mask):
    return dict(img=image.copy(), gt_masks=BitmapMasks([mask.astype(np.uint8)], *mask.shape))


def test_transform(image, mask, photos):
    np.random.seed(0)
    results = build(degree=1, textures=str(photos), feather=0)(sample(image, mask))
    assert (results["img"][mask] == (9, 200, 30)).all()
    assert np.array_equal(results["img"][~mask], image[~mask])
    assert np.array_equal(build(prob=0.0)(sample(image, mask))["img"], image)
    first, second = (
        (np.random.seed(3), build()(sample(image, mask)))[1],
        (np.random.seed(3), build()(sample(image, mask)))[1],
    )
    assert np.array_equal(first["img"], second["img"])
    assert np.array_equal(build()(dict(img=image.copy(), gt_masks=BitmapMasks([], 40, 60)))["img"], image)


@pytest.mark.parametrize(
    "wrong", [dict(degree=1.5), dict(degree=(0.5, 0.2)), dict(share=2), dict(prob=-1), dict(keep="x"), dict(feather=-1)]
)
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=f"TextureAugment: .*{next(iter(wrong))}"):
        build(**wrong)


def test_transform_without_masks(image):
    with pytest.raises(DataError, match=r"after mmdet\.LoadAnnotations"):
        build()(dict(img=image))


def test_published_names(tmp_path, photos):
    write_sa1b(tmp_path / "src", images=2)
    summary = texture_augment(tmp_path / "src", tmp_path / "dst", photos, degrees=(0.0, 0.3, 1.0), feather=0)
    assert (summary["images"], summary["objects"]) == (2, 3)
    stems = {path.name for path in (tmp_path / "dst").glob("1*.jpg")}
    assert stems == {"1.jpg", "1_textured_degree0_0.jpg", "1_textured_degree0_3.jpg", "1_textured_degree1_0.jpg"}
    content = json.loads((tmp_path / "dst" / "1_textured_degree0_3.json").read_text())
    assert content["image"]["file_name"] == "1_textured_degree0_3.jpg"
    assert content["annotations"] == json.loads((tmp_path / "src" / "1.json").read_text())["annotations"]
    original, plain, mild, full = (
        cv2.imread(str(tmp_path / "dst" / f"1{ending}.jpg")).astype(float)
        for ending in ("", "_textured_degree0_0", "_textured_degree0_3", "_textured_degree1_0")
    )
    assert np.array_equal(original, plain)
    assert 0 < np.abs(mild - original).mean() < np.abs(full - original).mean()
    mixed = np.abs(original + 0.3 * (full - original) - mild)  # the same texture, up to JPEG
    assert mixed.mean() < 3

    with pytest.raises(DataError, match="exist"):
        texture_augment(tmp_path / "src", tmp_path / "dst", photos, degrees=(0.0, 0.3, 1.0))
    again = texture_augment(
        tmp_path / "src", tmp_path / "dst", photos, degrees=(0.0, 0.3, 1.0), feather=0, overwrite=True
    )
    assert again == summary
    with pytest.raises(ConfigError, match=r"degrees \[2\] are not in"):
        texture_augment(tmp_path / "src", tmp_path / "other", degrees=[2])
