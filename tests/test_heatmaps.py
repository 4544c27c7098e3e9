"""Heat maps: the models' own numbers and slow references."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import HEAT_METHODS, VITS
from torch import nn

from vlcls.explain import heat_grid
from vlcls.explain.heatmaps import gem, image_pixels, legrad
from vlcls.explain.heatmaps.towers import block_inputs, tower_of


def taken_apart(encoder, image):
    """Tower, its inputs and two unit texts."""
    tower = tower_of(encoder)
    with torch.no_grad():
        inputs = block_inputs(encoder, tower, encoder.normalise(image_pixels(encoder, image)[None]))
    texts = torch.randn(2, encoder.embedding_dim, generator=torch.Generator().manual_seed(1))
    return tower, inputs, F.normalize(texts, dim=1)


# ---- the towers rebuilt -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", VITS)
def test_rebuilt_blocks_and_pooling_are_the_models_own(get_encoder, picture, kind):
    encoder = get_encoder(kind)
    tower, inputs, _ = taken_apart(encoder, picture(0))
    assert len(inputs) == len(tower.blocks) + 1
    with torch.no_grad():
        for block, given, answered in zip(tower.blocks, inputs, inputs[1:], strict=False):
            torch.testing.assert_close(block(given), answered, rtol=1e-4, atol=1e-4)
        tokens = tower.norm(inputs[-1])
        pooled = tokens[:, 0] if tower.pooling is None else tower.pooling(tokens)
        embedding = F.normalize(tower.project(pooled), dim=-1)
    own = encoder.encode_images(image_pixels(encoder, picture(0))[None])
    torch.testing.assert_close(embedding, own, rtol=1e-4, atol=1e-5)


def test_both_libraries_give_the_same_maps_for_the_same_weights(clip, picture):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    visual = clip.model.visual
    vision = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=1,
            image_size=32, patch_size=8, hidden_act="gelu",
        )
    ).eval()  # fmt: skip
    renamed = {
        "embeddings.class_embedding": visual.class_embedding,
        "embeddings.patch_embedding.weight": visual.conv1.weight,
        "embeddings.position_embedding.weight": visual.positional_embedding,
    }
    pairs = {"pre_layrnorm": visual.ln_pre, "post_layernorm": visual.ln_post}
    for row, block in enumerate(visual.transformer.resblocks):
        layer = f"encoder.layers.{row}."
        pairs |= {
            layer + "layer_norm1": block.ln_1, layer + "layer_norm2": block.ln_2,
            layer + "mlp.fc1": block.mlp.c_fc, layer + "mlp.fc2": block.mlp.c_proj,
            layer + "self_attn.out_proj": block.attn.out_proj,
        }  # fmt: skip
        names = [f"{layer}self_attn.{name}_proj." for name in "qkv"]
        for part in ("weight", "bias"):
            chunks = getattr(block.attn, f"in_proj_{part}").chunk(3)
            renamed |= {name + part: chunk for name, chunk in zip(names, chunks, strict=True)}
    for name, module in pairs.items():
        renamed |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    missing, unexpected = vision.load_state_dict(renamed, strict=False)
    assert not missing and not unexpected
    model = SimpleNamespace(vision_model=vision, visual_projection=lambda x: x @ visual.proj)
    other = SimpleNamespace(
        model=model, modules=vision, spec="hf:twin", image_features=lambda x: vision(pixel_values=x)
    )
    tower, inputs, texts = taken_apart(clip, picture(3))
    twin = tower_of(other)
    with torch.no_grad():
        twin_inputs = block_inputs(other, twin, clip.normalise(image_pixels(clip, picture(3))[None]))
        for method in (gem.patch_similarities, legrad.relevance):
            torch.testing.assert_close(
                method(tower, inputs, texts), method(twin, twin_inputs, texts), rtol=1e-3, atol=1e-5
            )


class TimmTowers(nn.Module):
    """open_clip's TimmModel around a small trunk: its trunk, its head, its forward pass."""

    def __init__(self, **options):
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.trunk = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4, num_classes=0, **options
        )
        self.head = nn.Linear(32, 48, bias=False)

    def forward(self, x):
        return self.head(self.trunk(x))


@pytest.mark.parametrize(
    "options",
    [
        {"global_pool": "map", "class_token": False},
        {"global_pool": "token", "init_values": 0.5},
        {"global_pool": "avg", "class_token": False, "fc_norm": False},
    ],
)
def test_timm_trunks(clip, picture, options):
    torch.manual_seed(0)
    encoder = copy.deepcopy(clip)
    encoder.model.visual = TimmTowers(**options).eval().requires_grad_(False)
    tower, inputs, texts = taken_apart(encoder, picture(0))
    assert tower.prefix == options.get("class_token", True)
    with torch.no_grad():
        torch.testing.assert_close(tower.blocks[1](inputs[1]), inputs[2], rtol=1e-4, atol=1e-5)
    for method in HEAT_METHODS:
        assert heat_grid(encoder, image_pixels(encoder, picture(0)), texts, method).shape == (2, 4, 4)


# ---- GEM and LeGrad against slow references ---------------------------------------------------------------


def layer_norm(x, weights, name, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred**2).mean(-1, keepdim=True)
    return centred / (spread + eps).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


@pytest.fixture(scope="module")
def slow(get_encoder, picture):
    """The last layer of the hf-clip tower by its weights' names, float64: input, weights, texts, heads."""
    encoder = get_encoder("hf-clip")
    tower, inputs, texts = taken_apart(encoder, picture(0))
    weights = {name: value.double() for name, value in encoder.model.state_dict().items()}
    return SimpleNamespace(
        tower=tower, inputs=inputs, texts=texts, weights=weights, x=[each[0].double() for each in inputs]
    )


def heads_of(x, slow, layer, name, heads=4):
    mapped = linear(x, slow.weights, f"vision_model.encoder.layers.{layer}.self_attn.{name}_proj")
    return mapped.reshape(len(x), heads, -1).transpose(0, 1)  # [H, N, d]


def slow_similarity(attention, slow, layer, text):
    """Cosine of the layer's mean token with a text, as a function of its attention map [H, N, N] alone."""
    weights, name = slow.weights, f"vision_model.encoder.layers.{layer}"
    x = slow.x[layer]
    values = heads_of(layer_norm(x, weights, f"{name}.layer_norm1"), slow, layer, "v")
    attended = (attention @ values).transpose(0, 1).reshape(len(x), -1)
    y = x + linear(attended, weights, f"{name}.self_attn.out_proj")
    hidden = linear(layer_norm(y, weights, f"{name}.layer_norm2"), weights, f"{name}.mlp.fc1")
    z = y + linear(hidden * torch.sigmoid(1.702 * hidden), weights, f"{name}.mlp.fc2")
    pooled = layer_norm(z.mean(0), weights, "vision_model.post_layernorm")
    embedding = weights["visual_projection.weight"] @ pooled
    return embedding @ text / embedding.norm()


def slow_attention(slow, layer):
    x = layer_norm(slow.x[layer], slow.weights, f"vision_model.encoder.layers.{layer}.layer_norm1")
    q, k = (heads_of(x, slow, layer, name) for name in "qk")
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)


@pytest.mark.parametrize("layer", [0, 1])
def test_legrads_closed_form_is_the_derivative_by_finite_differences(slow, layer):
    attention, text = slow_attention(slow, layer), slow.texts[1].double()
    found = list(legrad.block_gradients(slow.tower, slow.tower.blocks[layer], slow.inputs[layer], slow.texts))
    generator, step = np.random.default_rng(0), 1e-5
    for _ in range(60):
        place = tuple(int(generator.integers(size)) for size in attention.shape)
        up, down = attention.clone(), attention.clone()
        up[place] += step
        down[place] -= step
        slope = (slow_similarity(up, slow, layer, text) - slow_similarity(down, slow, layer, text)) / (
            2 * step
        )
        assert found[1][place].item() == pytest.approx(slope.item(), rel=1e-3, abs=1e-5)


def test_legrad_sums_what_is_positive_over_heads_rows_and_layers(slow):
    expected = torch.zeros(2, 17, dtype=torch.float64)
    for row, text in enumerate(slow.texts.double()):
        for layer in (0, 1):
            attention = slow_attention(slow, layer).requires_grad_()
            (gradient,) = torch.autograd.grad(slow_similarity(attention, slow, layer, text), attention)
            heads, queries, keys = gradient.shape
            for h in range(heads):
                for n in range(queries):
                    for m in range(keys):
                        expected[row, m] += max(float(gradient[h, n, m]), 0) / (heads * queries)
    found = legrad.relevance(slow.tower, slow.inputs, slow.texts)
    torch.testing.assert_close(found.double(), expected[:, 1:], rtol=1e-3, atol=1e-6)
    last = legrad.relevance(slow.tower, slow.inputs, slow.texts, blocks=1)
    assert (last <= found + 1e-7).all() and not torch.allclose(last, found)


def test_gem_against_a_loop_over_heads_and_tokens(slow):
    stream = slow.x[0].clone()
    for layer in (0, 1):
        name = f"vision_model.encoder.layers.{layer}"
        x = layer_norm(slow.x[layer], slow.weights, f"{name}.layer_norm1")
        v = heads_of(x, slow, layer, "v")
        inverse = float(x.norm(dim=-1).mean()) / math.sqrt(v.shape[-1])
        gathered = torch.zeros_like(v)
        for part in "qkv":
            points = heads_of(x, slow, layer, part)
            for h in range(len(v)):
                unit = points[h] / points[h].norm(dim=1, keepdim=True)
                drawn = torch.stack([(unit @ row * inverse).softmax(0) @ unit for row in unit])
                unit = drawn / drawn.norm(dim=1, keepdim=True)
                for n, row in enumerate(unit):
                    gathered[h, n] += (unit @ row * inverse).softmax(0) @ v[h] / 3
        joined = gathered.transpose(0, 1).reshape(len(x), -1)
        stream += linear(joined, slow.weights, f"{name}.self_attn.out_proj")
    tokens = layer_norm(stream[1:], slow.weights, "vision_model.post_layernorm")
    patches = F.normalize(tokens @ slow.weights["visual_projection.weight"].T, dim=1)
    with torch.no_grad():
        found = gem.patch_similarities(slow.tower, slow.inputs, slow.texts)
    torch.testing.assert_close(found.double(), slow.texts.double() @ patches.T, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_attention_pooling_by_finite_differences(get_encoder, picture):
    tower, inputs, texts = taken_apart(get_encoder("hf-siglip"), picture(0))
    pooling, tokens = tower.pooling, tower.norm(inputs[-1])
    attention = pooling.attention.probabilities(pooling.probe, tokens)
    values = pooling.attention.split(pooling.attention.value(tokens))

    def similarity(weights):
        return F.normalize(tower.project(pooling.finish(weights @ values)), dim=-1)[0] @ texts[0]

    found = next(iter(legrad.pooling_gradients(tower, pooling, inputs[-1], texts)))
    assert found.shape == attention.shape[1:] == (4, 1, 16)
    for head, place in ((0, 0), (1, 7), (2, 15), (3, 4)):
        step = torch.zeros_like(attention)
        step[0, head, 0, place] = 2e-2
        with torch.no_grad():
            slope = (similarity(attention + step) - similarity(attention - step)) / 4e-2
        assert found[head, 0, place].item() == pytest.approx(slope.item(), rel=0.05, abs=2e-3)
