"""Heat maps point at planted patches, and deletion and insertion say so."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from models import HEAT_METHODS
from PIL import Image
from torch import nn

from vlcls.explain import faithfulness, heat_grid, heat_map, random_maps
from vlcls.explain.heatmaps import gem, image_pixels, legrad
from vlcls.explain.heatmaps.towers import Attention, Block, Tower

# ---- planted patches --------------------------------------------------------------------------------------


def hand_built_tower():
    """Two blocks of plain copying: every token attends to all alike and adds their mean value."""
    attention = Attention(1, torch.zeros_like, torch.zeros_like, nn.Identity(), nn.Identity())
    block = Block(nn.Identity(), nn.Identity(), attention, nn.Identity(), torch.zeros_like)
    return Tower((block, block), 1, (8, 8), nn.Identity(), nn.Identity())


@pytest.mark.parametrize("place", [0, 6, 15])
def test_hand_built_attention_points_at_the_planted_patch(place):
    tower = hand_built_tower()
    tokens = 0.1 * torch.randn(1, 17, 8, generator=torch.Generator().manual_seed(place))
    tokens[0, 1 + place, 0] = 3.0  # the only patch that says what the text says
    inputs = [tokens]
    for block in tower.blocks:
        inputs.append(block(inputs[-1]))
    text = torch.eye(8)[:1]
    assert int(gem.patch_similarities(tower, inputs, text).argmax()) == place
    assert int(legrad.relevance(tower, inputs, text).argmax()) == place


def plant(encoder):
    """Make a real tower see stripes in channel 0, brightness in 2, a constant in 1; all attention is even."""
    encoder = copy.deepcopy(encoder)
    tower = encoder.model.visual if hasattr(encoder.model, "visual") else encoder.model.vision_model
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.zero_()
        for module in tower.modules():
            _plant_in(module)
        for name, projection in encoder.model.named_parameters():
            if name in ("visual.proj", "visual_projection.weight"):
                projection.copy_(torch.eye(*projection.shape))
        constant = getattr(tower, "class_embedding", None)
        if constant is None:
            constant = getattr(tower.embeddings, "class_embedding", None)
        if constant is None:
            constant = tower.head.attention.out_proj.bias
        constant[1] = 3.0
    return encoder


def _plant_in(module):
    if isinstance(module, nn.LayerNorm):
        module.weight.fill_(1.0)
    elif isinstance(module, nn.Conv2d):
        module.weight[0] = torch.tensor([1.0, -1.0]).repeat(4) / 64
        module.weight[2] = 1 / 64
    elif isinstance(module, nn.MultiheadAttention):
        module.in_proj_weight[-module.embed_dim :] = torch.eye(module.embed_dim)
        module.out_proj.weight.copy_(torch.eye(module.embed_dim))
    elif hasattr(module, "v_proj"):
        for layer in (module.v_proj, module.out_proj):
            layer.weight.copy_(torch.eye(len(layer.weight)))


def striped_patch(row, column):
    """Grey noise but for one patch, of whose stripes a blur leaves nothing."""
    pixels = np.random.default_rng(row).integers(190, 230, (32, 32, 1)).repeat(3, axis=2).astype(np.uint8)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = np.array([255, 0] * 4)[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["open_clip-clip", "hf-clip", "hf-siglip"])
@pytest.mark.parametrize("method", HEAT_METHODS)
def test_real_towers_point_at_the_planted_patch_and_the_curves_say_so(get_encoder, kind, method):
    encoder = plant(get_encoder(kind))
    text = torch.eye(encoder.embedding_dim)[0]
    for row, column in ((0, 3), (2, 1)):
        image = striped_patch(row, column)
        grid = heat_grid(encoder, image_pixels(encoder, image), text, method)[0]
        assert divmod(int(grid.argmax()), 4) == (row, column)
        heat = heat_map(encoder, image, text, method)
        assert heat[8 * row + 4, 8 * column + 4] > 0.8
        judged = faithfulness(encoder, image, text, heat, steps=16)
        # Some random maps have the patch on top by luck: it is the rest that must do worse.
        drawn = [
            faithfulness(encoder, image, text, each, steps=16)
            for each in random_maps((32, 32), (4, 4), 12, seed=row)
        ]
        for curve, sign in (("deletion_area", 1), ("insertion_area", -1)):
            others = [sign * (getattr(each, curve) - getattr(judged, curve)) for each in drawn]
            assert sum(other > 0 for other in others) >= 10 and sum(others) / len(others) > 0.01
        upside_down = faithfulness(encoder, image, text, -heat, steps=16)
        assert judged.deletion_area < upside_down.deletion_area
        assert judged.insertion_area > upside_down.insertion_area


# ---- deletion and insertion -------------------------------------------------------------------------------


def test_curves_against_one_image_at_a_time(clip, picture):
    heat = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)).mul(8).round()  # many ties
    text = clip.encode_texts(["a cat"])[0]
    found = faithfulness(clip, picture(5), "a cat", heat, steps=5, batch_size=2)
    pixels = clip.normalise(image_pixels(clip, picture(5))[None])[0]
    order = sorted(range(1024), key=lambda place: (-float(heat.flatten()[place]), place))
    offsets = range(-5, 6)
    kernel = np.array([math.exp(-(k**2) / 50) for k in offsets])
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(pixels.numpy().astype(np.float64), ((0, 0), (5, 5), (5, 5)), mode="edge")
    blur = np.zeros((3, 32, 32))
    for i in range(32):
        for j in range(32):
            blur[:, i, j] = (padded[:, i : i + 11, j : j + 11] * kernel).sum((1, 2))
    for step in range(6):
        gone = order[: round(1024 * step / 5)]
        deleted, inserted = pixels.clone(), torch.tensor(blur, dtype=torch.float32)
        for place in gone:
            deleted[:, place // 32, place % 32] = 0
            inserted[:, place // 32, place % 32] = pixels[:, place // 32, place % 32]
        expected = clip.encode_images(torch.stack([deleted, inserted])) @ text
        assert found.deletion[step] == pytest.approx(expected[0].item(), abs=1e-4)
        assert found.insertion[step] == pytest.approx(expected[1].item(), abs=1e-4)
    whole = (clip.encode_images(image_pixels(clip, picture(5))[None]) @ text).item()
    assert found.deletion[0] == pytest.approx(whole, abs=1e-5) == found.insertion[-1]
    d = found.deletion
    assert found.deletion_area == pytest.approx((d[0] / 2 + d[1] + d[2] + d[3] + d[4] + d[5] / 2) / 5)


def test_random_maps_hang_on_their_seed():
    maps = random_maps((32, 24), (4, 3), 6, seed=3)
    assert maps.shape == (6, 32, 24) and maps.min() >= 0 and maps.max() <= 1
    assert torch.equal(maps, random_maps((32, 24), (4, 3), 6, seed=3))
    assert not torch.equal(maps, random_maps((32, 24), (4, 3), 6, seed=4))
    assert not torch.equal(maps[0], maps[1])
