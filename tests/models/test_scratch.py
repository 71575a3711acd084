"""Decoders without pretrained weights read the image where the prompt is, and learn from clicks."""

import pytest
import torch
import torch.nn.functional as F

from samplug.registry import MODELS

GRID, PATCH = 8, 16


def decoder(kind, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type=kind, prompts=True, **kwargs))


def maps(kind, images=1):
    """An encoder's maps, the coarsest half as large as the position encoding."""
    generator = torch.Generator().manual_seed(1)
    coarse = 0.4 * torch.randn(images, 256, GRID, GRID, generator=generator)
    finer = () if kind == "SAMMaskDecoder" else [
        torch.randn(images, 256, GRID * scale, GRID * scale, generator=generator) for scale in (4, 2)
    ]  # fmt: skip
    return (*finer, coarse)


def share_near(head, kind, cell):
    """Share of the mask token's gradient that lies on the clicked cell and its eight neighbours."""
    features = head.image_features(maps(kind))
    coarse = features[-1].detach().requires_grad_()
    point = PATCH * (torch.tensor(cell, dtype=torch.float).flip(0) + 0.5)
    sparse, _ = head.embed_prompts(GRID * PATCH, GRID, point.reshape(1, 1, 1, 2), torch.ones(1, 1, 1, dtype=torch.long))
    tokens, _ = head.encode_tokens(coarse, sparse, None)
    token = tokens[0, 0, 2 if head.has_object_score else 1]
    (gradient,) = torch.autograd.grad((token * torch.linspace(-1, 1, 256)).sum(), coarse)
    strength = gradient[0].square().sum(dim=0)
    y, x = cell
    return (strength[y - 1 : y + 2, x - 1 : x + 2].sum() / strength.sum()).item()


@pytest.mark.parametrize("kind", ["SAMMaskDecoder", "SAM2MaskDecoder"])
def test_tokens_read_the_image_at_the_click(kind):
    cells = [(1, 1), (2, 5), (6, 3)]
    default = [share_near(decoder(kind), kind, cell) for cell in cells]
    scratch = [share_near(decoder(kind, scratch=True), kind, cell) for cell in cells]
    assert max(default) < 0.2  # the nine cells are .14 of the map
    assert min(scratch) > max(default)
    assert sum(scratch) / len(cells) > 0.35


def test_pretrained_weights_replace_the_start_values():
    plain, scratch = decoder("SAMMaskDecoder"), decoder("SAMMaskDecoder", scratch=True)
    assert plain.state_dict().keys() == scratch.state_dict().keys()
    scratch.load_state_dict(plain.state_dict())
    features = maps("SAMMaskDecoder")
    assert torch.equal(scratch(features), plain(features))


def test_pixel_embeddings_are_what_masks_are_made_of():
    """They are the upscaled image of a transformer that changes nothing but its norms."""
    kind = "SAM2MaskDecoder"
    head = decoder(kind)
    for layer in head.mask_layers.transformer.layers:
        torch.nn.init.zeros_(layer.cross_attn_image_to_token.out_proj.weight)
        torch.nn.init.zeros_(layer.cross_attn_image_to_token.out_proj.bias)
    torch.nn.init.zeros_(head.prompt_layers.no_mask_embed.weight)
    features = head.image_features(maps(kind))
    tokens, image = head.encode_tokens(features[-1], None, None)
    embeddings = head.pixel_embeddings(features)
    torch.testing.assert_close(embeddings, head._upscale(image, *features[:-1]), rtol=1e-4, atol=1e-4)
    weights = head.mask_layers.output_hypernetworks_mlps[0](tokens[0, 0, 2])
    logits = head.decode(features).logits[0, 0, 0]
    torch.testing.assert_close(torch.einsum("c,chw->hw", weights, embeddings[0]), logits, rtol=1e-3, atol=1e-4)


def wrong_after(head, steps):
    """Train on clicks into two halves that differ in features; return the share of wrong pixels at the end."""
    size = GRID * PATCH
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-4)
    generator = torch.Generator().manual_seed(2)
    feature = torch.randn(256, 1, 1, generator=generator)
    side = torch.ones(GRID, GRID)
    side[:, GRID // 2 :] = -1
    right = F.interpolate((side[None, None] < 0).float(), scale_factor=4)[0]
    errors = []
    for _ in range(steps):
        coarse = 0.4 * (feature * side + torch.randn(2, 256, GRID, GRID, generator=generator))
        points = torch.randint(size, (2, 8, 1, 2), generator=generator).float()
        target = torch.where((points[..., 0] >= size / 2)[..., None], right, 1 - right)
        sparse, _ = head.embed_prompts(size, GRID, points, torch.ones(2, 8, 1, dtype=torch.long))
        logits = head.decode((coarse,), sparse).logits[:, :, 0]
        loss = F.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        errors.append(((logits > 0) != (target > 0)).float().mean().item())
    return sum(errors[-5:]) / 5


def test_clicks_are_learned_from_random_weights():
    kind = "SAMMaskDecoder"
    assert wrong_after(decoder(kind, scratch=True), 30) < 0.1
    assert wrong_after(decoder(kind), 30) > 0.3
