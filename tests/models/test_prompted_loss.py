"""The loss of prompted masks: equal to SAM 2's, and right at the edges."""

import pytest
import torch
import torch.nn.functional as F

from samplug.models.losses.prompted import focal_loss
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

ARGUMENTS = {
    "focal_alpha": "alpha", "focal_gamma": "gamma", "focal_gamma_obj_score": "class_gamma", "supervise_all_iou": "supervise_all_iou",
}  # fmt: skip


def build(**kwargs):
    return MODELS.build(dict(type="sam2_prompted", **kwargs))


def from_options(options):
    """Our arguments for the original's."""
    weights = {name.replace("loss_", "") + "_weight": value for name, value in options["weight_dict"].items()}
    alpha = options.get("focal_alpha_obj_score", -1)
    return build(
        **weights,
        **{ours: options[theirs] for theirs, ours in ARGUMENTS.items() if theirs in options},
        class_alpha=None if alpha < 0 else alpha,
        iou_loss="l1" if options["iou_use_l1_loss"] else "mse",
    )


def steps_of(frame, score):
    """Answers of all steps of one frame."""
    scores = frame["multistep_object_score_logits"] if score else [None] * len(frame["multistep_pred_ious"])
    return list(zip(frame["multistep_pred_multimasks_high_res"], frame["multistep_pred_ious"], scores, strict=True))


def close(found, expected):
    """Relative to the largest value: gradients are small."""
    expected = torch.as_tensor(expected)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5 * min(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("name", ["texturesam", "best_only_mse", "no_obj_score", "focal_obj"])
def test_equal_to_sam2(parity, name):
    reference = parity("sam2_train_losses.pt")["losses"]
    assert len(reference["variants"]) == 4
    variant = reference["variants"][name]
    options, weights = variant["options"], variant["options"]["weight_dict"]
    loss = from_options(options)
    frames = [steps_of(frame, options["pred_obj_scores"]) for frame in reference["frames"]]
    targets = reference["targets"][:, :, None]

    flat = [(step, target) for steps, target in zip(frames, targets, strict=True) for step in steps]
    for (step, target), expected in zip(flat, variant["steps"], strict=True):
        for term, value in loss([step], target).items():
            close(value / weights[term], expected[term])

    totals = [loss(steps, target) for steps, target in zip(frames, targets, strict=True)]
    for term, weight in weights.items():
        if term in totals[0]:
            close(sum(terms[term] for terms in totals) / weight, variant["total"][term])
    assert ("loss_class" in totals[0]) == options["pred_obj_scores"]
    close(sum(sum(terms.values()) for terms in totals), variant["total"]["core_loss"])

    leaves = [tuple(None if part is None else part.clone().requires_grad_() for part in step) for step in frames[0]]
    sum(loss(leaves, targets[0]).values()).backward()
    gradients = variant["grads_first_frame"]
    close(leaves[0][0].grad, gradients["masks_first_step"])
    close(leaves[-1][0].grad, gradients["masks_last_step"])
    for (_, iou, score), iou_gradient, score_gradient in zip(
        leaves, gradients["ious"], gradients["object_scores"], strict=True
    ):
        close(iou.grad, iou_gradient)
        if score is not None:
            close(score.grad, score_gradient)


@pytest.mark.parametrize(("name", "tolerance"), [("as_is", 1e-4), ("objects_present", 2e-5)])
def test_equal_on_a_session(parity, name, tolerance):
    """Logits of -1024, where the decoder sees no object, are in ``as_is``."""
    case = parity("sam2_train_losses.pt")["interactive"][name]
    answers, expected = case["outputs"], case["outputs"]["losses"]
    target = case["inputs"]["masks"][:, None]
    logits = [F.interpolate(low, target.shape[-2:], mode="bilinear") for low in answers["low_res_multimasks"]]
    terms = build()(list(zip(logits, answers["ious"], answers["object_score_logits"], strict=True)), target)
    for term, weight in dict(loss_mask=20, loss_dice=1, loss_iou=1, loss_class=1).items():
        assert terms[term].item() / weight == pytest.approx(expected[term], rel=2e-5, abs=tolerance)
    assert sum(terms.values()).item() == pytest.approx(expected["core_loss"], rel=2e-5, abs=tolerance)


def answer(objects=2, masks=3, size=8, score=True):
    generator = torch.Generator().manual_seed(objects)
    logits = torch.randn(objects, masks, size, size, generator=generator)
    return logits, torch.rand(objects, masks, generator=generator), torch.randn(objects, 1) if score else None


def test_only_the_best_mask_is_trained():
    target = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    target[..., :4] = True
    right = torch.where(target, 4.0, -4.0)
    logits = torch.cat([-right, right * 0.5, right * 0.1], dim=1).requires_grad_()
    iou = torch.tensor([[0.9, 0.2, 0.3]], requires_grad=True)
    sum(build(iou_loss="mse", supervise_all_iou=False)([(logits, iou, None)], target).values()).backward()
    assert (logits.grad.abs().sum((2, 3)) > 0).tolist() == [[False, True, False]]
    torch.testing.assert_close(iou.grad, torch.tensor([[0, -1.6, 0]]))  # 2 (0.2 - 1)


def test_sam_loss_is_focal_dice_and_squared_error():
    logits, iou, _ = answer(masks=1, score=False)
    target = torch.rand(2, 1, 8, 8) < 0.5
    p = logits.sigmoid()
    p_t = torch.where(target, p, 1 - p)
    focal = (torch.where(target, 0.25, 0.75) * (1 - p_t) ** 2 * -p_t.log()).mean((2, 3))
    dice = 1 - (2 * (p * target).sum((2, 3)) + 1) / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
    predicted = logits > 0
    real = (predicted & target).sum((2, 3)) / (predicted | target).sum((2, 3))
    terms = build(iou_loss="mse", supervise_all_iou=False)([(logits, iou, None)], target)
    assert terms.keys() == {"loss_mask", "loss_dice", "loss_iou"}
    for name, expected in (("loss_mask", 20 * focal), ("loss_dice", dice), ("loss_iou", (iou - real) ** 2)):
        torch.testing.assert_close(terms[name], expected.mean())


@pytest.mark.parametrize("score", [False, True])
def test_empty_truth_trains_the_score_alone(score):
    logits, iou, _ = answer(1)
    logits.requires_grad_()
    object_score = torch.zeros(1, 1, requires_grad=True) if score else None
    terms = build()([(logits, iou, object_score)], torch.zeros(1, 1, 8, 8, dtype=torch.bool))
    sum(terms.values()).backward()
    assert bool(logits.grad.any()) != score
    if score:
        assert object_score.grad.item() == pytest.approx(0.5)


@pytest.mark.parametrize("supervise_all_iou", [False, True])
def test_ignored_pixels_do_not_count(supervise_all_iou):
    logits, iou, score = answer()
    target = (torch.rand(2, 1, 8, 8) < 0.5).long()
    ignored = target.clone()
    ignored[..., 5:] = 255
    loss = build(supervise_all_iou=supervise_all_iou)
    expected = loss([(logits[..., :5], iou, score)], target[..., :5])
    for name, value in loss([(logits, iou, score)], ignored).items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("score", [False, True])
def test_an_object_that_is_not_known_trains_nothing(score):
    """Neither is its mask wrong, nor is it absent."""
    logits, iou, object_score = answer()
    target = (torch.rand(2, 1, 8, 8) < 0.5).long()
    target[1] = 255
    steps = [(logits, iou, object_score if score else None)]
    expected = build()([tuple(None if part is None else part[:1] for part in steps[0])], target[:1])
    for name, value in build()(steps, target).items():
        torch.testing.assert_close(value, expected[name] / 2)  # of two objects


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("logit", [-1024.0, 0.0, 1024.0])
def test_finite_on_constant_targets(value, logit):
    logits = torch.full((2, 3, 8, 8), logit, requires_grad=True)
    loss = sum(
        build()([(logits, torch.rand(2, 3), torch.full((2, 1), logit))], torch.full((2, 1, 8, 8), value)).values()
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_no_objects():
    logits = torch.zeros(0, 3, 8, 8, requires_grad=True)
    terms = build()([(logits, torch.zeros(0, 3), torch.zeros(0, 1))], torch.zeros(0, 1, 8, 8, dtype=torch.bool))
    sum(terms.values()).backward()
    assert all(value == 0 for value in terms.values())
    assert logits.grad is not None


def test_half_precision_is_computed_in_float32():
    logits, iou, score = answer()
    target = torch.rand(2, 1, 8, 8) < 0.5
    half = [(logits.bfloat16(), iou.bfloat16(), score.bfloat16())]
    same = [(logits.bfloat16().float(), iou.bfloat16().float(), score.bfloat16().float())]
    expected = build()(same, target)
    for name, value in build()(half, target).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name])


def test_shapes_that_do_not_fit():
    logits, iou, score = answer()
    target = torch.zeros(2, 1, 8, 8)
    for step, truth in (
        ((logits, iou[:, :1], score), target),
        ((logits, iou, score[0]), target),
        ((logits, iou, score), target[:1]),
        ((logits, iou, score), target[..., 1:]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            build()([step], truth)
    with pytest.raises(ValueError, match="no steps"):
        build()([], target)
    with pytest.raises(ConfigError, match="iou_loss='l2' is unknown"):
        build(iou_loss="l2")


def test_mean_over_ranks_is_the_loss_of_the_whole_batch(monkeypatch):
    """The first rank has one object, the second two; without ``sync`` each divides by its own number."""
    logits, iou, score = answer(3)
    target = torch.rand(3, 1, 8, 8) < 0.4

    def terms(part, **kwargs):
        return build(**kwargs)([(logits[part], iou[part], score[part])], target[part])

    whole, parts = terms(slice(None)), (slice(0, 1), slice(1, 3))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count: count.fill_(3))  # sum over both
    synced, own = [terms(part) for part in parts], [terms(part, sync=False) for part in parts]
    for name, expected in whole.items():
        torch.testing.assert_close((synced[0][name] + synced[1][name]) / 2, expected)
        torch.testing.assert_close((own[0][name] + 2 * own[1][name]) / 3, expected)


def test_few_objects_on_many_ranks(monkeypatch):
    """The divisor is at least 1, as in SAM 2."""
    logits, iou, score = answer(1)
    target = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    alone = build()([(logits, iou, score)], target)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count: None)  # the others have none
    for name, value in build()([(logits, iou, score)], target).items():
        assert torch.equal(value, alone[name])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_sure_logits_have_finite_gradients(gamma):
    """Of an object that is not there SAM 2's logits are -1024."""
    logits = torch.tensor([-1024.0, -200.0, 0.0, 200.0], requires_grad=True)
    for target in (0.0, 1.0):
        loss = focal_loss(logits, torch.full_like(logits, target), gamma=gamma)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
