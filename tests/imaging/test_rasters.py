"""TIFF files: bands, depth, and where they lie."""

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.crs import CRS
from rasterio.transform import from_origin

from samplug.apis.prediction import Prediction
from samplug.datasets import DataError
from samplug.imaging import rasters
from samplug.imaging.files import read_image, read_mask
from samplug.imaging.rasters import array_raster, georeference, open_raster, write_geotiff
from samplug.imaging.sources import Source
from samplug.utils.errors import ConfigError

ALL = (slice(0, 20), slice(0, 30))
PLACE = dict(crs=CRS.from_epsg(32633), transform=from_origin(500_000, 5_600_000, 10, 10))


def tiff(path, values, **place):
    """Write (bands, H, W)."""
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **(place or PLACE)
    ) as file:
        file.write(values)
    return path


def values(bands, dtype=np.uint8, height=20, width=30):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (bands, height, width), dtype, endpoint=True)


@pytest.fixture
def without_rasterio(monkeypatch):
    monkeypatch.setattr(rasters, "_has_rasterio", lambda: False)


@pytest.fixture
def notes(monkeypatch):
    said = []
    monkeypatch.setattr(rasters, "_note", said.append)
    return said


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_many_bands_follow_the_rule_of_training(tmp_path, dtype, notes):
    data = values(6, dtype)
    path = tiff(tmp_path / "a.tif", data)
    scale = 257 if dtype == np.uint16 else 1
    for bands, taken in ((None, (0, 1, 2)), ((5, 1, 6), (4, 0, 5))):
        pixels = open_raster(path, bands).crop(slice(3, 17), slice(5, 30))
        expected = np.round(data[list(taken)].transpose(1, 2, 0)[3:17, 5:30] / scale)
        np.testing.assert_array_equal(pixels[..., ::-1], expected)
    assert len(notes) == 1
    assert "bands 1, 2, 3" in notes[0]


def test_rasterio_and_the_reader_of_training_agree(tmp_path):
    for dtype in (np.uint8, np.uint16):
        path = tiff(
            tmp_path / f"{dtype.__name__}.tif", values(3, dtype), interleave="pixel", photometric="rgb", **PLACE
        )
        np.testing.assert_array_equal(open_raster(path).crop(*ALL), read_image(path))
        np.testing.assert_array_equal(open_raster(path, (1, 2, 3)).crop(*ALL), read_image(path))


def test_bands_that_cannot_be_taken(tmp_path):
    with pytest.raises(DataError, match=r"field has 1 bands, not all of 3, 2, 1"):
        array_raster(values(1)[0], "field", (3, 2, 1))
    path = tiff(tmp_path / "a.tif", values(4))
    with pytest.raises(DataError, match="has 4 bands, not all of 5, 2, 1"):
        open_raster(path, (5, 2, 1))
    with pytest.raises(DataError, match="bands of float32"):
        open_raster(tiff(tmp_path / "b.tif", values(5).astype(np.float32)), (1, 2, 3))
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"c.png is no TIFF"):
        open_raster(tmp_path / "c.png", (1, 2, 3))
    (tmp_path / "d.tif").write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"d.tif is a truncated TIFF"):
        open_raster(tmp_path / "d.tif")


def test_a_tiff_leads_to_no_other_file(tmp_path):
    """GDAL's virtual format, recognised by its content, names files and addresses."""
    tiff(tmp_path / "secret.tif", values(3, height=8, width=8))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">secret.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path = tmp_path / "a.tif"
    path.write_text(f'<VRTDataset rasterXSize="8" rasterYSize="8">{bands}</VRTDataset>')
    with rasterio.open(path) as file:
        assert file.count == 3  # GDAL alone would follow it
    for options in ((), ((1, 2, 3),)):
        with pytest.raises(DataError, match=r"a\.tif"):
            open_raster(path, *options)
    assert georeference(path) is None


def test_of_several_pages_none_is_chosen(tmp_path):
    pages = [Image.fromarray(page) for page in values(2)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    for bands in (None, (1, 1, 1)):
        with pytest.raises(DataError, match=r"stack.tif holds 2 frames or pages"):
            open_raster(tmp_path / "stack.tif", bands)


def test_overviews_are_no_pages(tmp_path):
    data = values(3, height=600, width=700)
    path = tiff(tmp_path / "a.tif", data)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    np.testing.assert_array_equal(open_raster(path).crop(*ALL)[..., ::-1].transpose(2, 0, 1), data[:, :20, :30])


def test_notes_are_said_once_of_all_files(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(rasters, "print_log", lambda *args: said.append(args))
    rasters._note.cache_clear()
    for name in ("a.tif", "b.tif"):
        open_raster(tiff(tmp_path / name, values(6)))
    monkeypatch.setattr(rasters, "_has_rasterio", lambda: False)
    for name in ("a.tif", "b.tif"):
        georeference(tiff(tmp_path / name, values(3)))
    assert len(said) == 2


def test_arrays_of_many_channels_say_what_is_taken(notes):
    data = values(5).transpose(1, 2, 0)
    np.testing.assert_array_equal(array_raster(data, "x").crop(*ALL), data[..., :3])
    assert len(notes) == 1
    np.testing.assert_array_equal(array_raster(data, "x", (5, 4, 1)).crop(*ALL), data[..., [0, 3, 4]])


def test_the_place_is_kept(tmp_path):
    path = tiff(tmp_path / "a.tif", values(3))
    where = georeference(path)
    mask = values(1)[0]
    write_geotiff(tmp_path / "b.tif", mask, where)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.crs == PLACE["crs"]
        assert file.transform == PLACE["transform"]
        np.testing.assert_array_equal(file.read(1), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.tif"), mask)


def predicted(name, path):
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    logits = torch.randn(1, 20, 30)
    sample = SegDataSample()
    sample.set_data(dict(seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=(logits > 0).long())))
    return Prediction(Source(name, path), open_raster(path), sample)


def test_predictions_of_a_place_are_geotiff(tmp_path):
    path = tiff(tmp_path / "a.tif", values(6))
    prediction = predicted("deep/a", path)
    files = prediction.save(tmp_path / "out")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        "masks/deep/a.tif", "maps/deep/a.tif", "overlays/deep/a.jpg",
    ]  # fmt: skip
    for file, expected in zip(files[:2], (prediction.mask * 255, prediction.probability), strict=True):
        assert georeference(file) == georeference(path)
        np.testing.assert_array_equal(read_mask(file), expected)


def test_a_prediction_has_one_file_whoever_wrote_the_last(tmp_path, monkeypatch):
    prediction = predicted("a", tiff(tmp_path / "a.tif", values(3)))
    for with_rasterio in (False, True, False):
        monkeypatch.setattr(rasters, "_has_rasterio", lambda found=with_rasterio: found)
        saved = prediction.save(tmp_path / "out", overlay=False)
        assert sorted((tmp_path / "out").rglob("*.*")) == sorted(saved)


def test_a_tiff_without_a_place_gives_png(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = tiff(tmp_path / "a.tif", values(3), nodata=None)
    assert georeference(path) is None
    assert georeference(tmp_path / "a.png") is None


def test_without_rasterio(tmp_path, without_rasterio, notes):
    path = tiff(tmp_path / "a.tif", values(3))
    np.testing.assert_array_equal(open_raster(path).crop(*ALL), read_image(path))
    assert georeference(path) is None
    assert len(notes) == 1
    assert "are georeferenced" in notes[0]
    with pytest.raises(DataError, match=r"samplug\[geo\]"):
        open_raster(tiff(tmp_path / "b.tif", values(6)))
    with pytest.raises(ConfigError, match=r"samplug\[geo\]"):
        open_raster(path, (1, 2, 3))
