"""Prompts made from the truth: equal to SAM 2's, defined at the edges, and a function of their generator alone."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from samplug.models.prompts import (
    PromptSimulator,
    best_mask,
    center_click,
    erode,
    mask_prompt,
    merge_prompts,
    perturb_boxes,
    prompt_generator,
    spread_points,
    tight_boxes,
    uniform_click,
)
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

EMPTY, DOT, FULL = range(3)


def edge_masks(height=5, width=7):
    """Empty, one pixel at x = 4, y = 2, and all of the frame."""
    masks = torch.zeros(3, 1, height, width, dtype=torch.bool)
    masks[DOT, 0, 2, 4] = True
    masks[FULL] = True
    return masks


def discs(*radii, size=64):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    squared = (x - size // 2) ** 2 + (y - size // 2) ** 2
    return torch.stack([squared <= radius**2 for radius in radii])[:, None]


def at(masks, points):
    """Values of masks (B, 1, H, W) at points (B, n, 2)."""
    x, y = points.long().unbind(-1)
    return masks[torch.arange(len(masks))[:, None], 0, y, x]


def number_of(noise, truth, prediction):
    """The number that stands for the original's choice, the largest of its noise on candidates, of which it is the k-th of n.

    The original draws for each pixel a number as false positive and another one as false negative; a pixel can only be one of them.
    """
    wrong = truth if prediction is None else truth ^ prediction
    candidates = torch.where(wrong.flatten(1).any(1)[:, None], wrong.flatten(1), ~truth.flatten(1))
    noise = torch.where(truth, noise[:, 0, None, ..., 1], noise[:, 0, None, ..., 0]).flatten(1)
    choice = noise.masked_fill(~candidates, -1).argmax(1)
    before = torch.stack([row[:place].sum() for row, place in zip(candidates, choice, strict=True)])
    return (before + 0.5) / candidates.sum(1).clamp(min=1)


@pytest.fixture
def original(parity):
    return parity("sam2_train_losses.pt")["prompts"]


@pytest.mark.parametrize("source", ["error", "gt"])
def test_clicks_equal_sam2(original, source):
    given, expected = original["inputs"], original["outputs"]
    truth, prediction = given["gt"], given["pred"] if source == "error" else None
    clicks = {
        "uniform": uniform_click(truth, prediction, number_of(given["uniform_noise"], truth, prediction)),
        "center": center_click(truth, prediction),
        "center_no_padding": center_click(truth, prediction, padding=False),
    }
    for kind, (points, labels) in clicks.items():
        name, _, suffix = kind.partition("_")
        reference = expected[f"{name}_from_{source}" + (f"_{suffix}" if suffix else "")]
        assert torch.equal(points, reference["points"]), kind
        assert torch.equal(labels, reference["labels"]), kind


def test_boxes_equal_sam2(original):
    given, expected = original["inputs"], original["outputs"]
    boxes = tight_boxes(given["gt"])
    assert torch.equal(boxes, expected["boxes_tight"][:, 0].float())
    assert torch.equal(boxes, expected["box_no_noise"]["points"].flatten(1).float())
    for name in ("box_noise_default", "box_noise_large"):
        options = expected[name]["options"]
        noisy = perturb_boxes(boxes, (40, 48), given["box_rand"][:, 0], options["noise"], options["noise_bound"])
        torch.testing.assert_close(noisy, expected[name]["points"].flatten(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["as_is", "objects_present"])
def test_click_loop_equals_sam2(parity, name):
    """The simulator, given the original model's answers, asks the original's questions."""
    case = parity("sam2_train_losses.pt")["interactive"][name]
    options, expected = case["inputs"]["options"], case["outputs"]
    simulator = MODELS.build(
        dict(
            type="PromptSimulator",
            box_prob=0,
            correction_from_truth_prob=0,
            click="center",
            num_correction_points=options["num_correction_pt_per_frame"],
        )
    )
    generator = prompt_generator(0)
    state = simulator.start(case["inputs"]["masks"][:, None], generator)
    for step in range(simulator.num_correction_points + 1):
        logits, iou = expected["low_res_multimasks"][step], expected["ious"][step]
        if step:
            state = simulator.correct(
                state, expected["low_res_multimasks"][step - 1], expected["ious"][step - 1], generator
            )
            assert torch.equal(state.mask, expected["chosen_low_res"][step - 1])
        assert torch.equal(state.points[:, 0], expected["points"][step])
        assert torch.equal(state.labels[:, 0], expected["labels"][step])
        assert state.multimask == (logits.shape[1] == 3)
    assert torch.equal(best_mask(logits, iou), expected["chosen_low_res"][-1])


def test_uniform_click_hits_every_wrong_pixel_and_no_other():
    truth, prediction = torch.zeros(2, 600, 1, 2, 4, dtype=torch.bool)
    truth[..., :2], prediction[..., 1:3] = True, True  # missed: column 0; too much: column 2
    points, labels = uniform_click(truth, prediction, prompt_generator(0))
    places, counts = points[:, 0].unique(dim=0, return_counts=True)
    assert places.tolist() == [[0, 0], [0, 1], [2, 0], [2, 1]]
    assert counts.min() > 100  # 150 expected, 10.6 the standard deviation
    assert torch.equal(labels, (points[..., 0] == 0).int())


def test_perfect_prediction_is_clicked_on_the_background():
    truth = discs(4, 10)
    points, labels = uniform_click(truth, truth, prompt_generator(0))
    assert not at(truth, points).any()
    assert labels.tolist() == [[0], [0]]


def test_center_of_errors_of_equal_depth():
    """What is too much goes first, as in SAM 2; a deeper error goes before both."""
    truth, prediction = torch.zeros(2, 1, 1, 9, 20, dtype=torch.bool)
    truth[..., 1:4, 1:4] = prediction[..., 1:4, 11:14] = True
    points, labels = center_click(truth, prediction)
    assert (points.tolist(), labels.tolist()) == ([[[12, 2]]], [[0]])
    truth[..., 1:6, 1:6] = True
    points, labels = center_click(truth, prediction)
    assert (points.tolist(), labels.tolist()) == ([[[3, 3]]], [[1]])


@pytest.mark.parametrize("perfect", [False, True])
def test_clicks_at_the_edges(perfect):
    masks = edge_masks()
    prediction = masks if perfect else None
    for points, labels in (uniform_click(masks, prediction, prompt_generator(3)), center_click(masks, prediction)):
        assert points.dtype == torch.float32
        assert labels.dtype == torch.int32
        assert torch.equal(labels.bool(), at(masks, points))
        assert labels.flatten().tolist() == [0, int(not perfect), 1]
        if not perfect:
            assert points[DOT].tolist() == [[4, 2]]
    if not perfect:
        assert center_click(masks)[0][FULL].tolist() == [[2, 2]]
        assert center_click(masks, padding=False)[0][FULL].tolist() == [[0, 0]]


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24, 1 - 2**-53])
@pytest.mark.parametrize("count", [1, 3, 2**24 + 3])
def test_first_and_last_candidate(number, count):
    """The smallest and the largest numbers that can be drawn hit the ends, also where float32 could not count."""
    truth = torch.zeros(1, 1, 1, count + 2, dtype=torch.bool)
    truth[..., 1 : count + 1] = True
    points, labels = uniform_click(truth, None, torch.tensor([number], dtype=torch.float64))
    assert labels.tolist() == [[1]]
    place = int(1 + math.floor(number * count))
    assert place <= count
    assert points[0, 0, 0] == torch.tensor(place).float()
    if count < 2**24:
        assert place == (count if number else 1)


def test_clicks_are_uniform_and_independent_of_the_batch():
    """A chi-squared test over the candidates of an odd region; an object's click is that of its own number."""
    region = torch.rand(1, 1, 9, 11, generator=torch.Generator().manual_seed(0)) < 0.4
    size, draws = int(region.sum()), 8000
    regions = region.expand(draws, -1, -1, -1)
    for points in (
        uniform_click(regions, None, prompt_generator(5))[0],
        spread_points(regions, 2, prompt_generator(6))[0],
    ):
        for number in range(points.shape[1]):
            x, y = points[:, number].long().unbind(1)
            counts = torch.bincount(y * 11 + x, minlength=99).reshape(9, 11)
            assert (counts[~region[0, 0]] == 0).all()
            chi_squared = ((counts[region[0, 0]] - draws / size) ** 2).sum() * size / draws
            if number == 0:  # later points keep a distance, so that the middle is hit less often
                assert chi_squared < size - 1 + 5 * math.sqrt(2 * (size - 1))
            else:
                assert counts[region[0, 0]].min() > 0
    numbers = torch.rand(3, dtype=torch.float64)
    masks = discs(5, 12, 25)
    together = uniform_click(masks, None, numbers)[0]
    alone = [uniform_click(masks[i : i + 1], None, numbers[i : i + 1])[0] for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_one_number_is_drawn_for_each_click():
    """A handful of numbers, whatever the size of the masks: prompts of large images cost no more."""
    for draw, shape in ((lambda g, m: uniform_click(m, None, g), (3,)), (lambda g, m: spread_points(m, 4, g), (3, 4))):
        generator, expected = prompt_generator(1), prompt_generator(1)
        draw(generator, discs(5, 12, 25))
        torch.rand(*shape, generator=expected, dtype=torch.float64)
        assert torch.equal(generator.get_state(), expected.get_state())


def test_masks_of_other_kinds():
    masks = edge_masks()
    with pytest.raises(ValueError, match=r"bool \(B, 1, H, W\).*float32"):
        center_click(masks.float())
    with pytest.raises(ValueError, match="differ in shape"):
        center_click(masks, masks[..., 1:])
    with pytest.raises(ValueError, match=r"shape \(2,\), expected"):
        uniform_click(masks, None, torch.rand(2))


def test_boxes_at_the_edges():
    masks = edge_masks()
    boxes = tight_boxes(masks)
    assert boxes.tolist() == [[7, 5, -1, -1], [4, 2, 4, 2], [0, 0, 6, 4]]
    # A share of the sides of one pixel is nothing.
    assert perturb_boxes(boxes, (5, 7), prompt_generator(0))[DOT].tolist() == [4, 2, 4, 2]
    for seed in range(20):
        x0, y0, x1, y1 = perturb_boxes(boxes, (5, 7), prompt_generator(seed), fraction=None, limit=10).unbind(1)
        assert (x0 <= x1)[[DOT, FULL]].all()
        assert (y0 <= y1)[[DOT, FULL]].all()
        for x, y in ((x0, y0), (x1, y1)):
            assert x.min() >= 0
            assert x.max() <= 6
            assert y.min() >= 0
            assert y.max() <= 4


def test_box_perturbation_in_pixels():
    boxes = torch.tensor([[100.0, 120.0, 300.0, 200.0]]).repeat(500, 1)
    shift = perturb_boxes(boxes, (512, 512), prompt_generator(1), fraction=None, limit=10) - boxes
    assert shift.abs().max() <= 10
    assert (shift.amin(0) < -9.5).all()
    assert (shift.amax(0) > 9.5).all()
    assert shift.mean().abs() < 0.5
    shift = perturb_boxes(boxes, (512, 512), prompt_generator(1), fraction=0.1, limit=10) - boxes
    assert 9.5 < shift[:, ::2].abs().max() <= 10  # 0.1 * 200, limited
    assert 7.5 < shift[:, 1::2].abs().max() <= 8  # 0.1 * 80


@pytest.mark.parametrize("count", [2, 3, 8])
def test_points_keep_their_distance(count):
    masks = discs(5, 12, 25)
    least = (masks.flatten(1).sum(1) / (math.pi * count)).sqrt()
    closest_drawn_freely = []
    for seed in range(30):
        points, exist = spread_points(masks, count, prompt_generator(seed))
        assert exist.all()
        assert at(masks, points).all()
        distance = torch.cdist(points, points) + 1000 * torch.eye(count)
        assert (distance.amin((1, 2)) >= least).all()
        free, _ = spread_points(masks, count, prompt_generator(seed), spread=False)
        distance = torch.cdist(free, free) + 1000 * torch.eye(count)
        closest_drawn_freely.append(distance.amin((1, 2)) < least)
    assert torch.stack(closest_drawn_freely).any(0).all()


@pytest.mark.parametrize("spread", [False, True])
def test_points_of_small_regions(spread):
    masks = edge_masks()
    masks = torch.cat([masks, masks[DOT : DOT + 1]])
    masks[3, 0, 2, 5:] = True  # three pixels
    points, exist = spread_points(masks, 3, prompt_generator(0), spread)
    assert exist.tolist() == [[False] * 3, [True] * 3, [True] * 3, [True] * 3]
    assert points[EMPTY].tolist() == [[0, 0]] * 3
    assert points[DOT].tolist() == [[4, 2]] * 3
    assert len(points[FULL].unique(dim=0)) == 3
    assert sorted(points[3].tolist()) == [[4, 2], [5, 2], [6, 2]]
    assert spread_points(masks, 0, prompt_generator(0), spread)[0].shape == (4, 0, 2)


def test_erode():
    masks = edge_masks(9, 11)
    masks = torch.cat([masks, torch.zeros_like(masks[:1])])
    masks[3, 0, 1:8, 5:] = True  # goes out of the picture on the right
    eroded = erode(masks, 2)
    assert torch.equal(eroded[:3], masks[:3])
    expected = torch.zeros_like(masks[3])
    expected[0, 3:6, 7:] = True
    assert torch.equal(eroded[3], expected)
    assert torch.equal(erode(masks, 0), masks)


def test_kinds_of_first_prompts():
    """Boxes, masks and clicks come as often as their probabilities say; the rest are clicks."""
    simulator = PromptSimulator(box_prob=0.5, mask_prob=0.3)
    masks = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    masks[..., 4:9, 4:9] = True
    states = [simulator.start(masks, prompt_generator(index)) for index in range(600)]
    kinds = ["box" if state.boxes is not None else "mask" if state.mask is not None else "click" for state in states]
    for kind, share in (("box", 0.5), ("mask", 0.3), ("click", 0.2)):
        assert kinds.count(kind) / 600 == pytest.approx(share, abs=0.06)
    with pytest.raises(ConfigError, match="more than 1 together"):
        PromptSimulator(box_prob=0.5, mask_prob=0.6)


def test_mask_prompt():
    masks = edge_masks(8, 8)
    prompt = mask_prompt(masks, (2, 2))
    assert prompt.shape == (3, 1, 2, 2)
    torch.testing.assert_close(prompt[EMPTY], torch.full((1, 2, 2), -10.0))
    torch.testing.assert_close(prompt[FULL], torch.full((1, 2, 2), 10.0))
    assert prompt[DOT].flatten().argmax() == 1  # x = 4, y = 2: upper right
    assert mask_prompt(masks, (8, 8), logit=3)[DOT, 0, 2, 4] == 3


def test_merge_prompts():
    logits, iou = torch.randn(2, 3, 2, 4, 4), torch.tensor([[[1, 6], [3, 5], [2, 4]], [[9, 1], [8, 3], [7, 2]]]) / 10
    mean, mean_iou = merge_prompts(logits, iou, "mean")
    torch.testing.assert_close(mean, (logits[:, 0] + logits[:, 1] + logits[:, 2]) / 3)
    torch.testing.assert_close(mean_iou, torch.tensor([[2, 5], [8, 2]]) / 10)
    best, best_iou = merge_prompts(logits, iou, "best")
    places = [[1, 0], [0, 1]]
    for sample in range(2):
        for mask in range(2):
            assert torch.equal(best[sample, mask], logits[sample, places[sample][mask], mask])
    torch.testing.assert_close(best_iou, torch.tensor([[3, 6], [9, 3]]) / 10)


def simulator(**kwargs):
    return MODELS.build(dict(type="PromptSimulator", **kwargs))


def run(simulator, masks, generator, steps=3):
    """Prompts of a fixed sequence of answers."""
    answers = torch.Generator().manual_seed(0)
    states = [simulator.start(masks, generator)]
    for _ in range(steps):
        count = 3 if states[-1].multimask else 1
        logits = torch.randn(len(masks), count, 16, 16, generator=answers)
        states.append(
            simulator.correct(states[-1], logits, torch.rand(len(masks), count, generator=answers), generator)
        )
    return states


def test_prompts_are_a_function_of_the_generator():
    masks, sampler = discs(5, 12, 25), simulator()
    first = run(sampler, masks, prompt_generator(1, 2, 3))
    torch.rand(7)
    again = run(sampler, masks, prompt_generator(1, 2, 3))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.points, other.points)
        assert (one.boxes is None) == (other.boxes is None)
    for entropy in ((1, 2, 4), (1, 3, 2), (2, 2, 3)):
        others = run(sampler, masks, prompt_generator(*entropy))[-1].points
        assert others.shape != first[-1].points.shape or not torch.equal(others, first[-1].points)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    run(simulator(), discs(5, 12), prompt_generator(0))
    MODELS.build(dict(type="PointPrompts", num_negative=1)).start(discs(5, 12), prompt_generator(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_simulator_accumulates():
    masks = discs(5, 12)
    states = run(simulator(box_prob=0, correction_from_truth_prob=0), masks, prompt_generator(0))
    assert [state.multimask for state in states] == [True, False, False, False]
    assert [tuple(state.points.shape) for state in states] == [(2, 1, k, 2) for k in (1, 2, 3, 4)]
    assert states[0].mask is None
    assert at(masks, states[0].points[:, 0]).all()
    for before, after in pairwise(states):
        assert torch.equal(after.points[:, :, :-1], before.points)
        assert after.mask.shape == (2, 1, 16, 16)
        predicted = F.interpolate(after.mask, (64, 64), mode="bilinear") > 0
        newest = after.points[:, 0, -1:]
        assert (at(predicted, newest) != at(masks, newest)).all()


def test_box_first():
    masks = discs(5, 12)
    states = run(simulator(box_prob=1, box_noise=0), masks, prompt_generator(0), steps=1)
    assert states[0].points.shape == (2, 1, 0, 2)
    assert not states[0].multimask
    assert torch.equal(states[0].boxes[:, 0], tight_boxes(masks))
    assert torch.equal(states[1].boxes, states[0].boxes)
    assert states[1].points.shape == (2, 1, 1, 2)
    boxes = [simulator(box_prob=0.3).start(masks, prompt_generator(seed)).boxes is not None for seed in range(300)]
    assert 60 < sum(boxes) < 120


def test_corrections_from_the_truth():
    masks = discs(12)
    right = torch.where(masks, 10.0, -10.0)  # no error: a correction from errors is on the background

    def on_object(probability, seed):
        sampler = simulator(box_prob=0, correction_from_truth_prob=probability)
        state = sampler.start(masks, prompt_generator(0))
        return bool(sampler.correct(state, right, torch.ones(1, 1), prompt_generator(seed)).labels[0, 0, 1])

    assert not any(on_object(0, seed) for seed in range(10))
    assert all(on_object(1, seed) for seed in range(10))
    assert 25 < sum(on_object(0.3, seed) for seed in range(150)) < 65


def test_gradients_go_through_the_mask_prompt():
    sampler = simulator(box_prob=0)
    state = sampler.start(discs(5), prompt_generator(0))
    logits = torch.randn(1, 3, 16, 16, requires_grad=True)
    sampler.correct(state, logits, torch.tensor([[0.1, 0.9, 0.5]]), prompt_generator(0)).mask.sum().backward()
    assert logits.grad.sum((2, 3)).tolist() == [[0, 256, 0]]


def test_point_prompts():
    masks = torch.cat([discs(5, 20), edge_masks(64, 64)])
    separate = MODELS.build(dict(type="PointPrompts", num_positive=3, num_negative=2, erode=2))
    joint = MODELS.build(dict(type="PointPrompts", num_positive=3, num_negative=2, erode=2, point_mode="joint"))
    apart, together = separate.start(masks, prompt_generator(0)), joint.start(masks, prompt_generator(0))
    assert apart.points.shape == (5, 3, 3, 2)
    assert together.points.shape == (5, 1, 5, 2)
    assert torch.equal(apart.points[:, :, 0], together.points[:, 0, :3])
    assert torch.equal(apart.points[:, 1, 1:], together.points[:, 0, 3:])
    on, off = together.labels[:, 0, :3], together.labels[:, 0, 3:]
    assert on.tolist() == [[1] * 3, [1] * 3, [-1] * 3, [1] * 3, [1] * 3]
    assert off.tolist() == [[0] * 2, [0] * 2, [0] * 2, [0] * 2, [-1] * 2]
    assert apart.labels[0].tolist() == [[1, 0, 0]] * 3
    points = together.points[:2, 0]
    assert at(erode(masks, 2)[:2], points[:, :3]).all()
    assert at(erode(~masks, 2)[:2], points[:, 3:]).all()
    logits, iou = torch.randn(5, 3, 1, 4, 4), torch.rand(5, 3, 1)
    torch.testing.assert_close(separate.merge(logits, iou)[0], logits.mean(1))


@pytest.mark.parametrize(
    "state",
    [
        lambda masks: simulator(box_prob=1).start(masks, prompt_generator(0)),
        lambda masks: run(simulator(box_prob=1), masks, prompt_generator(0), steps=2)[-1],
        lambda masks: MODELS.build(dict(type="PointPrompts", num_negative=1)).start(masks, prompt_generator(0)),
    ],
)
def test_decoder_takes_them(state):
    """Boxes without points, boxes with points and a mask, and several prompts for each object."""
    masks = edge_masks(64, 64)
    state = state(masks)
    decoder = MODELS.build(dict(type="SAMMaskDecoder", prompts=True))
    with torch.no_grad():
        sparse, dense = decoder.embed_prompts(64, 4, state.points, state.labels, state.boxes, state.mask)
        answer = decoder.decode((torch.randn(3, 256, 4, 4),), sparse, dense, multimask=state.multimask)
    assert answer.logits.shape == (3, state.points.shape[1], 1, 16, 16)
    assert torch.isfinite(answer.logits).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(type="PromptSimulator", box_prob=1.5), "box_prob=1.5 is no probability"),
        (dict(type="PromptSimulator", click="centre"), "click='centre' is unknown: use one of uniform, center"),
        (dict(type="PromptSimulator", box_noise=-0.1), "box_noise=-0.1 is too small"),
        (dict(type="PointPrompts", num_positive=0), "num_positive=0 is too small: use 1 or more"),
        (dict(type="PointPrompts", point_mode="both"), "point_mode='both' is unknown"),
        (dict(type="PointPrompts", merge_mode="worst"), "merge_mode='worst' is unknown"),
    ],
)
def test_settings_out_of_range(config, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(config)


@pytest.mark.parametrize("click", [uniform_click, center_click])
def test_no_click_where_nothing_is_known(click):
    """An answer without an error, at whose (0, 0) the truth is not known: no background is claimed there."""
    known = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    known[0, 0, 0] = False
    truth = known.clone()
    random = (torch.Generator().manual_seed(0),) if click is uniform_click else ()
    _, labels = click(truth, truth, *random, valid=known)
    assert labels.tolist() == [[-1], [1]]
