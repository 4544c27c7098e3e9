"""Heat maps as they are used: what comes out, what is left behind, conse, hostile inputs."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models import HEAT_METHODS, VITS, with_variant
from PIL import Image
from torch import nn

from vlcls.errors import EmbeddingError, EncoderError, ImageError, VlclsError
from vlcls.explain import faithfulness, heat_grid, heat_map, random_maps, usable_method
from vlcls.explain.heatmaps import _from_0_to_1, image_pixels

# ---- what comes out, and what is left behind --------------------------------------------------------------


@pytest.mark.parametrize("kind", VITS)
@pytest.mark.parametrize("method", HEAT_METHODS)
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
        for method in HEAT_METHODS:
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


@pytest.mark.parametrize("method", HEAT_METHODS)
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
    for method in HEAT_METHODS:  # nothing to see
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
