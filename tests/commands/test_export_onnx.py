"""The ONNX file answers as the model does, for any number of objects and points, boxes, and with and without a mask."""

from functools import cache

import pytest
import torch
from mmengine.config import Config

from samplug.apis.model import init_model
from samplug.commands.prompt_decoder_onnx import PromptDecoder, export_onnx
from samplug.commands.run import main
from samplug.models import Prompts
from samplug.utils.errors import ConfigError, UserError
from tests.builders import tiny_tssam_cfg
from tests.checkpoints.test_loading import randomised
from tests.commands.test_export_weights import SAM, SAM2

KINDS = {"sam": SAM, "sam2": SAM2}
PADDING = torch.tensor([[[0.0, 0.0]]])
NAMES = ["point_coords", "point_labels", "mask_input", "has_mask_input"]
CASES = [
    dict(objects=1, points=1),
    dict(objects=1, points=4, mask=True),
    dict(objects=3, points=0, box=True),
    dict(objects=2, points=5, box=True, mask=True),
    dict(objects=5, points=2),
]


@cache
def tiny(kind):
    """A model and its features of an image."""
    model = randomised(init_model(Config(dict(model=KINDS[kind])), "untrained", "cpu"))
    with torch.no_grad():
        return model, model.encode(torch.randn(1, 3, 64, 64))


def prompts(objects, points, box=False, mask=False):
    """As :class:`Prompts`; the last click of each object but the first is padding."""
    clicks, labels = torch.rand(objects, points, 2) * 64, torch.randint(0, 2, (objects, points))
    labels[1:, points - 1 :] = -1
    corners = torch.rand(objects, 2, 2) * 64
    return Prompts(
        points=clicks if points else None,
        labels=labels if points else None,
        boxes=corners.flatten(1) if box else None,
        masks=torch.randn(objects, 1, 16, 16) if mask else None,
    )


def tensors(asked, padded):
    """The same as inputs of the file, as the page says: clicks, corners, and a padding point where the model has one."""
    count = len(asked)
    coords, labels = [torch.zeros(count, 0, 2)], [torch.zeros(count, 0)]
    if asked.points is not None:
        coords.append(asked.points)
        labels.append(asked.labels.float())
    if asked.boxes is not None:
        coords.append(asked.boxes.unflatten(1, (2, 2)))
        labels.append(torch.tensor([[2.0, 3.0]]).expand(count, 2))
    if padded or asked.boxes is None:
        coords.append(PADDING.expand(count, 1, 2))
        labels.append(torch.full((count, 1), -1.0))
    given = asked.masks is not None
    mask = asked.masks if given else torch.full((count, 1, 16, 16), 7.0)  # of no effect
    return torch.cat(coords, 1), torch.cat(labels, 1), mask, torch.tensor([float(given)])


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_tensors_say_the_same_as_prompts(kind, multimask, case):
    model, features = tiny(kind)
    asked = prompts(**case)
    with torch.no_grad():
        expected = model.decode(features, asked, multimask)
        logits, iou = PromptDecoder(model.decode_head, 64, multimask).eval()(features, *tensors(asked, kind == "sam2"))
    assert logits.shape == (case["objects"], 3 if multimask else 1, 16, 16)
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(iou, expected.iou, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module", params=[("sam", True), ("sam2", False)], ids=["sam-multimask", "sam2-single"])
def exported(request, tmp_path_factory):
    """Kind of model, whether it answers with three masks, the model, its features, and the file that the command wrote."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    kind, multimask = request.param
    folder = tmp_path_factory.mktemp("onnx")
    model, features = tiny(kind)
    torch.save({"state_dict": model.state_dict()}, folder / "trained.pth")
    (folder / "cfg.py").write_text(f"model = {KINDS[kind]!r}\n")
    arguments = [folder / "cfg.py", folder / "trained.pth", "--out", folder / "out" / "decoder.onnx"]
    assert main("export-onnx", [*map(str, arguments), *(["--multimask"] if multimask else [])]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["decoder.onnx"]
    return kind, multimask, model, features, folder / "out" / "decoder.onnx"


@pytest.fixture(scope="module")
def session(exported):
    import onnxruntime

    return onnxruntime.InferenceSession(exported[-1], providers=["CPUExecutionProvider"])


def test_inputs_and_outputs(exported, session):
    kind, multimask, *_ = exported
    finer = {"high_res_feats_0": [1, 32, 16, 16], "high_res_feats_1": [1, 64, 8, 8]} if kind == "sam2" else {}
    assert {value.name: value.shape for value in session.get_inputs()} == finer | {
        "image_embeddings": [1, 256, 4, 4],
        "point_coords": ["objects", "points", 2],
        "point_labels": ["objects", "points"],
        "mask_input": ["objects", 1, 16, 16],
        "has_mask_input": [1],
    }
    masks = 3 if multimask else 1
    assert {value.name: value.shape for value in session.get_outputs()} == {
        "low_res_masks": ["objects", masks, 16, 16],
        "iou_predictions": ["objects", masks],
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_file_answers_as_the_model(exported, session, case):
    kind, multimask, model, features, _ = exported
    asked = prompts(**case)
    given = dict(zip(NAMES, tensors(asked, kind == "sam2"), strict=True)) | {"image_embeddings": features[-1]}
    given |= {f"high_res_feats_{index}": feature for index, feature in enumerate(features[:-1])}
    with torch.no_grad():
        expected = model.decode(features, asked, multimask)
    logits, iou = session.run(["low_res_masks", "iou_predictions"], {name: v.numpy() for name, v in given.items()})
    torch.testing.assert_close(torch.from_numpy(logits), expected.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(iou), expected.iou, atol=1e-4, rtol=1e-4)


def test_unstable_masks_are_replaced_as_by_the_model():
    """SAM 2's answer to a click is the best of three masks where the one is not stable, as with random weights."""
    model, features = tiny("sam2")
    asked = prompts(objects=8, points=1)
    with torch.no_grad():
        answer = PromptDecoder(model.decode_head, 64).eval()(features, *tensors(asked, True))[0]
        three = model.decode(features, asked, multimask=True)
    best = three.logits[torch.arange(8), three.iou.argmax(1)][:, None]
    torch.testing.assert_close(answer, best, atol=1e-4, rtol=1e-4)


def test_mistakes(tmp_path, monkeypatch):
    (tmp_path / "there.onnx").touch()
    config = Config(dict(model=tiny_tssam_cfg()))
    with pytest.raises(UserError, match=r"there\.onnx exists already"):
        export_onnx(config, "untrained", tmp_path / "there.onnx")
    monkeypatch.setattr("samplug.commands.prompt_decoder_onnx.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"need onnx and onnxscript: pip install 'samplug\[onnx\]'"):
        export_onnx(config, "untrained", tmp_path / "new.onnx")
    monkeypatch.setattr("samplug.commands.prompt_decoder_onnx.find_spec", lambda name: True)
    with pytest.raises(ConfigError, match="TSSAM has a decoder FeatureFusionDecoder"):
        export_onnx(config, "untrained", tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()
