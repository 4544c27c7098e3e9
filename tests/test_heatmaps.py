"""Heat maps: the models' own numbers, slow references, planted patches, and a model left as it was."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import with_variant
from PIL import Image
from torch import nn

from vlcls.errors import EmbeddingError, EncoderError, ImageError, VlclsError
from vlcls.explain import faithfulness, heat_grid, heat_map, random_maps, usable_method
from vlcls.explain.heatmaps import _from_0_to_1, gem, image_pixels, legrad
from vlcls.explain.heatmaps.towers import Attention, Block, Tower, block_inputs, tower_of

VITS = (
    "open_clip-clip",
    "open_clip-siglip",
    "hf-clip",
    "hf-siglip",
    "hf-siglip2",
    "hf-altclip",
    "hf-chinese_clip",
    "hf-clipseg",
)
METHODS = ("gem", "legrad")


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
    for method in METHODS:
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


# ---- what comes out, and what is left behind --------------------------------------------------------------


@pytest.mark.parametrize("kind", VITS)
@pytest.mark.parametrize("method", METHODS)
def test_shapes_ranges_and_texts_at_once(get_encoder, picture, kind, method):
    encoder, texts = get_encoder(kind), ["a cat", "a small red dog", "a cat"]
    maps = heat_map(encoder, picture(1), texts, method)
    assert maps.shape == (3, 32, 32) and maps.dtype == torch.float32 and maps.device.type == "cpu"
    assert maps.amin((1, 2)).tolist() == [0, 0, 0] and maps.amax((1, 2)).tolist() == [1, 1, 1]
    torch.testing.assert_close(maps[0], maps[2])
    one = heat_map(encoder, picture(1), texts[1], method)
    torch.testing.assert_close(one, maps[1], rtol=1e-3, atol=1e-3)
    embedded = heat_map(encoder, picture(1), 3 * encoder.encode_texts([texts[1]])[0].double(), method)
    torch.testing.assert_close(embedded, one, rtol=1e-3, atol=1e-3)
    many = heat_map(encoder, picture(1), [*texts, *(f"{n} dogs" for n in range(20)), texts[1]], method)
    torch.testing.assert_close(many[-1], maps[1], rtol=1e-3, atol=1e-3)  # in another batch of texts
    grid = heat_grid(encoder, image_pixels(encoder, picture(1)), texts, method)
    assert grid.shape == (3, 4, 4) and grid.abs().max() <= (1 if method == "gem" else torch.inf)


def state_of(encoder):
    hooks = [
        len(getattr(module, kind))
        for module in encoder.modules.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    ]
    parameters = [(p.requires_grad, p.grad is None, p.clone()) for p in encoder.modules.parameters()]
    return hooks, [each[:2] for each in parameters], [each[2] for each in parameters]


def assert_as_before(encoder, before):
    hooks, flags, values = state_of(encoder)
    assert (hooks, flags) == before[:2] and not any(hooks)
    assert all(torch.equal(a, b) for a, b in zip(values, before[2], strict=True))


@pytest.mark.parametrize("kind", ["open_clip-clip", "hf-siglip"])
def test_the_model_is_left_as_it_was_also_by_an_error(get_encoder, picture, kind, monkeypatch):
    encoder = copy.deepcopy(get_encoder(kind))
    next(encoder.modules.parameters()).requires_grad_(True)
    pixels = image_pixels(encoder, picture(2))[None]
    before, embedding = state_of(encoder), encoder.encode_images(pixels)
    forward = encoder.image_features
    seen = []

    def watched(pixels):
        seen.append(forward(pixels))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "image_features", watched)
        for method in METHODS:
            heat_map(encoder, picture(2), "a cat", method)
    for each in seen:  # while it was being listened to, the model answered the same
        assert torch.equal(F.normalize(each, dim=-1), embedding)
    assert_as_before(encoder, before)
    assert torch.equal(encoder.encode_images(pixels), embedding)

    def broken(pixels):
        forward(pixels)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder, "image_features", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        heat_map(encoder, picture(2), "a cat")
    assert_as_before(encoder, before)


@pytest.mark.parametrize("method", METHODS)
def test_modes_of_the_caller_change_nothing(clip, picture, method):
    plain = heat_map(clip, picture(4), "a cat", method)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        text = clip.encode_texts(["a cat"])
        inside = heat_map(clip, picture(4), "a cat", method)
        embedded = heat_map(clip, picture(4), text.clone()[0], method)
    torch.testing.assert_close(inside, plain, rtol=0.1, atol=0.1)  # the text was embedded under autocast
    torch.testing.assert_close(embedded, inside)
    half = copy.deepcopy(clip)
    half.model.bfloat16()
    rough = heat_map(half, picture(4), clip.encode_texts(["a cat"])[0], method)
    assert rough.dtype == torch.float32
    assert np.corrcoef(rough.flatten(), plain.flatten())[0, 1] > 0.9


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
@pytest.mark.parametrize("method", METHODS)
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


# ---- conse ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conse():
    from vlcls import load_encoder

    return load_encoder("conse", device="cpu", precision="fp32")


def combined_class_maps(conse, pixels, text):
    """The ImageNet classes' maps one after the other, weighted as a synthesized text is, float64: [7, 7]."""
    sentence = conse.towers.sentence_embeddings(conse.tokenize([text])).double()
    names, weight = conse.seen.names.double(), conse.seen.weight.double()
    cosines = F.normalize(sentence - names.mean(0), dim=1) @ F.normalize(names - names.mean(0), dim=1).T
    shares = (20 * cosines).softmax(1)[0]
    features = conse.towers.image.extract_features(conse.normalise(pixels[None]))[0].double()
    total = torch.zeros(7, 7, dtype=torch.float64)
    for share, own in zip(shares, weight - weight.mean(0), strict=True):
        for row in range(7):
            total[row] += share * (own @ features[:, row])
    return total / (shares @ (weight - weight.mean(0))).norm()


@pytest.mark.parametrize("variant", ["joint", "plain", "centred", "soft", "synthesized"])
def test_a_texts_map_is_its_imagenet_classes_maps_combined(conse, picture, variant):
    encoder = with_variant(conse, variant)
    pixels = image_pixels(encoder, picture(0, 260, 260))
    grid = heat_grid(encoder, pixels, "a tabby cat")[0].double()
    with torch.no_grad():
        combined = combined_class_maps(conse, pixels, "a tabby cat")
        torch.testing.assert_close(grid, combined, rtol=1e-3, atol=1e-4)
        pooled = encoder.towers.pooled_features(encoder.normalise(pixels[None]))
    if variant == "synthesized":  # the map adds up to the score
        cosine = encoder.encode_images(pixels[None]) @ encoder.encode_texts(["a tabby cat"]).T
        assert float(grid.mean() / pooled.norm()) == pytest.approx(float(cosine), rel=1e-3)


def test_the_map_of_ridge_is_the_texts_own_vector(conse, picture):
    encoder = with_variant(conse, "ridge")
    pixels, text = image_pixels(encoder, picture(0, 260, 260)), encoder.encode_texts(["a dog"])
    with torch.no_grad():
        features = encoder.towers.image.extract_features(encoder.normalise(pixels[None]))[0]
    expected = (features * text[0][:, None, None]).sum(0)
    torch.testing.assert_close(heat_grid(encoder, pixels, "a dog")[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("left", "top"), [(16, 16), (130, 120)])
def test_conse_points_at_a_photograph_in_a_corner_and_beats_random_maps(conse, left, top):
    from vlcls.demo import demo_photos

    photo = next(source for source in demo_photos() if source.name == "chelsea.png")
    image = Image.new("RGB", (256, 256), (127, 127, 127))  # of which conse sees all but 16 pixels each side
    image.paste(Image.open(photo.data).convert("RGB").resize((98, 98)), (left + 16, top + 16))
    text = conse.encode_texts(["a photo of a cat."])[0]
    heat = heat_map(conse, image, text)
    assert heat.shape == (224, 224) and (heat.min(), heat.max()) == (0, 1)
    row, column = divmod(int(heat.argmax()), 224)
    assert top <= row < top + 98 and left <= column < left + 98
    judged = faithfulness(conse, image, text, heat, steps=8)
    for drawn in random_maps((224, 224), (7, 7), 2):
        chance = faithfulness(conse, image, text, drawn, steps=8)
        assert judged.deletion_area < chance.deletion_area - 0.02
        assert judged.insertion_area > chance.insertion_area + 0.02


# ---- hostile inputs ---------------------------------------------------------------------------------------


def test_which_method_an_encoder_gets(clip, siglip, conse):
    assert usable_method(clip) == usable_method(siglip) == "legrad"
    assert (usable_method(clip, "gem"), usable_method(conse)) == ("gem", "cam")
    with pytest.raises(EncoderError, match=r"'cam' is for conse; .* choose gem or legrad"):
        usable_method(clip, "cam")
    with pytest.raises(EncoderError, match=r"'gem' is for a ViT; .* choose cam"):
        usable_method(conse, "gem")
    with pytest.raises(VlclsError, match="no heat map method 'gradcam'"):
        heat_map(clip, Image.new("RGB", (9, 9)), "a cat", "gradcam")


def test_towers_that_cannot_be_looked_into_are_refused(get_encoder, clip, picture):
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    with pytest.raises(EncoderError, match=r"no heat map of a Align\w+: .*hf:openai/clip-vit.*conse"):
        heat_map(get_encoder("hf-align"), picture(0), "a cat")
    small = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "heads": 2, "mlp_ratio": 2.0}
    towers = {
        "ModifiedResNet: ": ModifiedResNet((1, 1, 1, 1), 16, 2, image_size=32, width=8),
        "VisionTransformer with this kind of attention pooling: ": VisionTransformer(
            **small, attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2, output_dim=16
        ),
        "VisionTransformer: ": VisionTransformer(**small, qk_norm=True),
        "ConvNeXt: ": nn.Module(),
    }
    towers["ConvNeXt: "].trunk = type("ConvNeXt", (nn.Module,), {})()
    for name, visual in towers.items():
        encoder = copy.copy(clip)
        encoder.model = SimpleNamespace(visual=visual)
        with pytest.raises(EncoderError, match="no heat map of a " + name):
            usable_method(encoder)


def test_a_tower_that_only_looks_plain_is_refused(get_encoder, picture):
    encoder = copy.deepcopy(get_encoder("hf-clip"))
    encoder.model.vision_model.encoder.layers[-1].self_attn.scale *= 5
    before = state_of(encoder)
    with pytest.raises(EncoderError, match="parts that plain blocks"):
        heat_map(encoder, picture(0), "a cat")
    assert_as_before(encoder, before)


@pytest.mark.parametrize("text", ["", "  \n", [], ["a cat", ""], [3]])
def test_no_text_no_map(clip, picture, text):
    with pytest.raises(VlclsError, match="needs a text"):
        heat_map(clip, picture(0), text)


def test_embeddings_that_cannot_be(clip, picture):
    for bad in (torch.ones(47), torch.ones(0, 48), torch.ones(1, 1, 48), torch.tensor(1.0)):
        with pytest.raises(EmbeddingError, match=r"where .* has \[48\]"):
            heat_map(clip, picture(0), bad)
    for bad in (torch.zeros(48), torch.full((2, 48), torch.nan), torch.full((48,), torch.inf)):
        with pytest.raises(EmbeddingError, match="NaN, infinity or a row of length zero"):
            heat_map(clip, picture(0), bad)


def test_images_that_cannot_be(clip, picture, tmp_path):
    with pytest.raises(VlclsError, match="one image, and 2"):
        heat_map(clip, [picture(0), picture(1)], "a cat")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(ImageError):
        heat_map(clip, tmp_path / "broken.png", "a cat")
    for method in METHODS:  # nothing to see
        even = heat_map(clip, Image.new("RGB", (1, 300)), "<b>🐱</b>", method)
        assert even.isfinite().all() and even.min() >= 0 and even.max() <= 1
    assert torch.equal(_from_0_to_1(torch.full((2, 3, 3), 7.0)), torch.zeros(2, 3, 3))


def test_curves_of_what_is_no_map(clip, picture):
    for bad in (torch.rand(31, 32), torch.rand(2, 32, 32), torch.full((32, 32), torch.nan)):
        with pytest.raises(VlclsError, match="map of shape"):
            faithfulness(clip, picture(0), "a cat", bad)
    for steps in (0, 1025):
        with pytest.raises(VlclsError, match="steps over 1024 pixels"):
            faithfulness(clip, picture(0), "a cat", torch.rand(32, 32), steps=steps)
