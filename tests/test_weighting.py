"""AutoCLIP: worked numbers, an autograd reference with its own bisection, what must never matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import bisect

import vlcls
from vlcls.classifiers import weighting
from vlcls.classifiers.weighting import (
    ClassWeights,
    TemplateWeights,
    Weighting,
    entropy_weights,
    shared_templates,
)
from vlcls.classifiers.zpe import with_template_weights, zpe_weights
from vlcls.errors import TemplateError, VlclsError
from vlcls.labels import as_labels
from vlcls.prompts import Prompt, PromptSet

EXAMPLE = [[0.30, 0.20, 0.25], [0.22, 0.24, 0.20]]
FLIP = [[0.30, 0.18, 0.18], [0.25, 0.22, 0.22]]


def shared_prompts(classes: int, templates: int, texts: int = 1) -> PromptSet:
    labels = as_labels([f"class {index}" for index in range(classes)])
    return PromptSet(
        labels,
        tuple(
            Prompt(f"{index} {template} {text}", index, "template", template=template)
            for index in range(classes)
            for template in range(templates)
            for text in range(texts)
        ),
    )


def weigher(
    cosines: list[list[float]], chosen: Weighting | None = None
) -> tuple[TemplateWeights, torch.Tensor]:
    """Embeddings whose cosines with one image are exactly these: the image is the first axis."""
    flat = torch.tensor(cosines).flatten()
    texts = torch.cat([flat[:, None], (1 - flat**2).sqrt()[:, None]], dim=1)
    prompts = shared_prompts(len(cosines), len(cosines[0]))
    return TemplateWeights(prompts, texts, chosen or Weighting(), 100.0), torch.tensor([[1.0, 0.0]])


def entropy(weights: torch.Tensor) -> torch.Tensor:
    return -(weights * weights.clamp(min=1e-300).log2()).sum(-1)


def reference(cosines: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """The paper's steps on one image: autograd through the logsumexp, scipy's bisection of the step."""
    similar = torch.tensor(cosines, dtype=torch.float64)  # [C, K]
    rho = torch.zeros(similar.shape[1], dtype=torch.float64, requires_grad=True)
    (similar @ rho.softmax(0)).logsumexp(0).backward()
    gradient = rho.grad

    def excess(step: float) -> float:
        return float(entropy((step * gradient).softmax(0))) - beta * math.log2(similar.shape[1])

    high = 1.0
    while excess(high) > 0:
        high *= 2
    weights = (bisect(excess, 0, high, xtol=1e-12, rtol=1e-12, maxiter=500) * gradient).softmax(0)
    return weights.numpy(), (similar @ weights).numpy()


# ---- the worked examples -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.85, [0.6133, 0.1767, 0.2100]),
        (0.95, [0.4933, 0.2408, 0.2660]),
        (0.70, [0.7296, 0.1182, 0.1522]),
        (0.50, [0.8395, 0.0663, 0.0942]),
    ],
)
def test_weights_of_the_example(beta: float, expected: list[float]):
    made, image = weigher(EXAMPLE, Weighting(beta=beta))
    assert made.weights(image)[0].tolist() == pytest.approx(expected, abs=5.1e-5)


def test_every_step_of_the_example():
    similar = torch.tensor(EXAMPLE, dtype=torch.float64)
    uniform = similar.mean(1)
    likely = uniform.softmax(0)
    direction = likely @ similar
    gradient = (direction - direction.mean()) / 3
    assert uniform.tolist() == pytest.approx([0.25, 0.22], abs=5e-5)
    assert likely.tolist() == pytest.approx([0.5075, 0.4925], abs=5e-5)
    assert direction.tolist() == pytest.approx([0.2606, 0.2197, 0.2254], abs=5e-5)
    assert gradient.tolist() == pytest.approx([0.0085, -0.0052, -0.0033], abs=5e-5)
    weights = entropy_weights(direction, 0.85)
    tau = float((weights[0] / weights[1]).log() / (direction[0] - direction[1]))
    assert tau == pytest.approx(30.4288, abs=5e-4) and 3 * tau == pytest.approx(91.2864, abs=2e-3)
    assert float(entropy(weights)) == pytest.approx(1.3472, abs=5e-5)
    made, image = weigher(EXAMPLE)
    assert made(image)[0].tolist() == pytest.approx([0.2718, 0.2193], abs=5e-5)


def test_the_prediction_that_flips():
    made, image = weigher(FLIP)
    assert torch.tensor(FLIP).mean(1).argmax() == 1
    assert made.weights(image)[0].tolist() == pytest.approx([0.6146, 0.1927, 0.1927], abs=5e-5)
    assert made(image)[0].tolist() == pytest.approx([0.2537, 0.2384], abs=5e-5)


# ---- against the paper's steps -------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "templates"), [(2, 2), (5, 7), (100, 30), (1000, 80)])
@pytest.mark.parametrize("beta", [0.3, 0.85, 0.97])
def test_equals_autograd_and_scipy(classes: int, templates: int, beta: float):
    generator = torch.Generator().manual_seed(classes + templates)
    texts = F.normalize(torch.randn(classes * templates, 16, generator=generator), dim=1)
    images = F.normalize(torch.randn(3, 16, generator=generator), dim=1)
    made = TemplateWeights(shared_prompts(classes, templates), texts, Weighting(beta=beta), 100.0)
    weights, scores = made.weights(images), made(images)
    cosines = (images.double() @ texts.double().T).view(3, classes, templates).numpy()
    for row in range(3):
        expected_weights, expected_scores = reference(cosines[row], beta)
        assert np.abs(weights[row].numpy() - expected_weights).max() < 1e-4
        assert np.abs(scores[row].numpy() - expected_scores).max() < 1e-5


@pytest.mark.parametrize("name", ["autoclip", "softmax"])
def test_softmax_and_scaled_use_another_direction(name: str):
    chosen = Weighting(name) if name == "softmax" else Weighting(name, scaled=True)
    made, image = weigher(EXAMPLE, chosen)
    similar = torch.tensor(EXAMPLE, dtype=torch.float64)
    likely = torch.full((2,), 0.5).double() if name == "softmax" else (100 * similar.mean(1)).softmax(0)
    expected = entropy_weights(likely @ similar, 0.85)
    assert made.weights(image)[0].tolist() == pytest.approx(expected.tolist(), abs=1e-4)


# ---- guards --------------------------------------------------------------------------------------------


def test_the_entropy_is_the_target_wherever_it_can_be():
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 10, 80):
        for spread in (1e-12, 1e-7, 1e-2, 1.0, 1e6):
            scores = spread * torch.randn(500, count, generator=generator, dtype=torch.float64)
            for beta in (0.05, 0.5, 0.85, 0.999):
                found = entropy(entropy_weights(scores, beta))
                assert (found - beta * math.log2(count)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("scores", "beta", "expected"),
    [
        ([3.0], 0.85, [1.0]),
        ([2.0, 2.0, 2.0, 2.0], 0.85, [0.25] * 4),
        ([1.0, 1.0, 0.0, -5.0], 0.5, [0.5, 0.5, 0, 0]),
        ([1.0, 1.0, 1.0, 0.0], 0.5, [1 / 3] * 3 + [0]),
        ([1.0, 3.0, 2.0], 0.0, [0, 1, 0]),
        ([1.0, 3.0, 2.0], 1.0, [1 / 3] * 3),
    ],
)
def test_guards(scores: list[float], beta: float, expected: list[float]):
    assert entropy_weights(torch.tensor(scores), beta).tolist() == pytest.approx(expected, abs=1e-9)


def test_a_tie_above_the_target_is_still_met():
    weights = entropy_weights(torch.tensor([1.0, 1.0, 0.0, 0.0]), 0.85)
    assert float(entropy(weights)) == pytest.approx(1.7, abs=1e-6)
    assert weights[0] == weights[1] > weights[2] == weights[3]


# ---- what must not matter ------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))


def problem(
    classes: int, templates: int, seed: int, images: int = 5
) -> tuple[PromptSet, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    texts = F.normalize(torch.randn(classes * templates, 8, generator=generator), dim=1)
    rows = F.normalize(torch.randn(images, 8, generator=generator), dim=1)
    return shared_prompts(classes, templates), texts, rows


@given(SIZES)
def test_beta_one_is_the_mean_and_beta_zero_the_best_template(sizes: tuple[int, int, int]):
    classes, templates, seed = sizes
    prompts, texts, images = problem(classes, templates, seed)
    cosines = (images @ texts.T).view(5, classes, templates)
    equal = TemplateWeights(prompts, texts, Weighting(beta=1), 100.0)(images)
    assert torch.allclose(equal, cosines.mean(-1), atol=1e-6)
    likely = cosines.double().mean(-1).softmax(-1)
    best = (likely[:, :, None] * cosines).sum(1).argmax(-1)
    single = TemplateWeights(prompts, texts, Weighting(beta=0), 100.0)(images)
    assert torch.allclose(single, cosines[torch.arange(5), :, best], atol=1e-6)


@given(SIZES, st.randoms(use_true_random=False))
def test_another_order_of_templates_permutes_the_weights(sizes: tuple[int, int, int], random):
    classes, templates, seed = sizes
    prompts, texts, images = problem(classes, templates, seed)
    order = random.sample(range(templates), templates)
    moved = texts.view(classes, templates, -1)[:, order].flatten(0, 1)
    a, b = (TemplateWeights(prompts, rows, Weighting(), 100.0) for rows in (texts, moved))
    assert torch.allclose(a.weights(images)[:, order], b.weights(images), atol=1e-4)
    assert torch.allclose(a(images), b(images), atol=1e-5)


@pytest.mark.parametrize("entries", [1, 50, 200])
@pytest.mark.parametrize("name", [each.name for each in weighting.WEIGHTINGS.values() if not each.learn])
def test_neither_chunks_nor_neighbours_matter(entries: int, name: str, monkeypatch: pytest.MonkeyPatch):
    prompts, texts, images = problem(6, 7, 3, images=20)
    kind = ClassWeights if name == "autoclip-within-class" else TemplateWeights
    rest = () if kind is ClassWeights else (100.0,)
    made = kind(prompts, texts, Weighting(name), *rest)
    whole, weights = made(images), made.weights(images)
    monkeypatch.setattr(weighting, "_ENTRIES_AT_ONCE", entries)
    assert torch.allclose(made(images), whole, atol=1e-6)
    alone = torch.cat([made(images[row : row + 1]) for row in range(20)])
    assert torch.allclose(alone, whole, atol=1e-6)
    assert torch.allclose(made.weights(images), weights, atol=1e-5)


# ---- several texts a template, lists of one's own --------------------------------------------------------


def test_descriptors_of_one_template_count_by_their_mean():
    prompts = shared_prompts(3, 4, texts=2)
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(24, 8, generator=generator), dim=1)
    images = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    found = TemplateWeights(prompts, texts, Weighting(), 100.0).weights(images)
    cosines = (images.double() @ texts.double().T).view(5, 3, 4, 2).mean(-1)
    for row in range(5):
        assert np.abs(found[row].numpy() - reference(cosines[row].numpy(), 0.85)[0]).max() < 1e-4


def test_lists_of_their_own_are_refused_and_the_error_says_what_to_do():
    labels = as_labels(["cat", "dog"])
    ragged = PromptSet(labels, (Prompt("a", 0, "descriptor"), Prompt("b", 1, "descriptor")))
    with pytest.raises(TemplateError, match=r"'cat'.*autoclip-within-class"):
        shared_templates(ragged)
    uneven = PromptSet(
        labels, tuple(Prompt("", c, "template", template=t) for c, t in ((0, 0), (0, 1), (1, 0)))
    )
    with pytest.raises(TemplateError, match="'dog'"):
        TemplateWeights(uneven, torch.eye(3), Weighting(), 100.0)


def test_within_classes_of_equal_cosines_it_is_autoclip():
    row = F.normalize(torch.randn(7, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    images = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(2)), dim=1)
    prompts, texts = shared_prompts(3, 7), row.repeat(3, 1)
    shared = TemplateWeights(prompts, texts, Weighting(), 100.0)
    within = ClassWeights(prompts, texts, Weighting("autoclip-within-class"))
    assert torch.allclose(shared(images), within(images), atol=1e-6)
    assert torch.allclose(shared.weights(images).repeat(1, 3), within.weights(images), atol=1e-5)


def test_within_classes_of_any_length_the_entropy_is_the_target():
    counts = [1, 3, 5, 3]
    labels = as_labels([str(index) for index in range(4)])
    prompts = PromptSet(
        labels, tuple(Prompt("", c, "descriptor") for c, n in enumerate(counts) for _ in range(n))
    )
    texts = F.normalize(torch.randn(12, 8, generator=torch.Generator().manual_seed(3)), dim=1)
    images = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(4)), dim=1)
    made = ClassWeights(prompts, texts, Weighting("autoclip-within-class"))
    weights, scores = made.weights(images), made(images)
    cosines = images @ texts.T
    start = 0
    for index, count in enumerate(counts):
        mine = weights[:, start : start + count].double()
        assert torch.allclose(mine.sum(-1), torch.ones(6).double(), atol=1e-6)
        assert torch.allclose(entropy(mine), torch.full((6,), 0.85 * math.log2(count)).double(), atol=1e-5)
        expected = (mine * cosines[:, start : start + count]).sum(-1)
        assert torch.allclose(scores[:, index].double(), expected, atol=1e-6)
        start += count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "median"}, "'median'.*autoclip"),
        ({"beta": 1.5}, "0 to 1"),
        ({"beta": float("nan")}, "0 to 1"),
        ({"name": "softmax", "scaled": True}, "no part"),
    ],
)
def test_weightings_that_cannot_be(options: dict, message: str):
    with pytest.raises(VlclsError, match=message):
        Weighting(**options)


# ---- the simulation ------------------------------------------------------------------------------------


def simulated(sigma: float, coupling: float, seed: int) -> tuple[float, float, float]:
    """methods.md 5.5: images of 5 classes share a template a row; accuracy of mean, max, AutoCLIP."""
    generator = np.random.RandomState(seed)  # the draws behind the page's figures, in this order
    classes, templates = generator.normal(size=(5, 128)), generator.normal(size=(10, 128))
    mixed = generator.normal(size=(5, 10, 128)).transpose(1, 0, 2)
    texts = (1 - coupling) * (classes + templates[:, None]) + coupling * mixed  # [K, C, D]
    used = generator.randint(10, size=40)
    images = texts[used] + sigma * generator.normal(size=(40, 5, 128))
    truth = np.tile(np.arange(5), 40)
    unit_texts = F.normalize(torch.tensor(texts).float(), dim=-1)
    unit_images = F.normalize(torch.tensor(images).float().flatten(0, 1), dim=-1)
    rows = unit_texts.transpose(0, 1).flatten(0, 1)
    cosines = (unit_images @ rows.T).view(200, 5, 10)
    auto = TemplateWeights(shared_prompts(5, 10), rows, Weighting(), 100.0)(unit_images)
    return tuple(
        float((scores.argmax(1).numpy() == truth).mean())
        for scores in (cosines.mean(-1), cosines.amax(-1), auto)
    )


@pytest.mark.parametrize(
    ("sigma", "coupling", "expected"),
    [
        (2.5, 0.0, (0.9936, 0.9966, 0.9951)),
        (2.5, 0.5, (0.8497, 0.9367, 0.9070)),
        (2.5, 1.0, (0.5964, 0.9765, 0.8602)),
        (5.0, 0.5, (0.5510, 0.5729, 0.5750)),
        (5.0, 1.0, (0.3954, 0.5953, 0.4950)),
        (10.0, 0.5, (0.3632, 0.3515, 0.3672)),
    ],
)
def test_the_simulation(sigma: float, coupling: float, expected: tuple[float, float, float]):
    found = np.mean([simulated(sigma, coupling, seed) for seed in range(100)], axis=0)
    assert found == pytest.approx(expected, abs=0.0005)


# ---- ZPE -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_reference", [False, True])
def test_zpe_equals_a_loop(with_reference: bool):
    prompts, texts, images = problem(4, 3, 5, images=9)
    extra = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(6)), dim=1)
    found = zpe_weights(prompts, texts, images, extra if with_reference else None, logit_scale=10.0)
    logits = 10 * (images.double() @ texts.double().T).view(9, 4, 3).numpy()
    offset = logits.mean(0)
    if with_reference:
        offset = (offset + 10 * (extra.double() @ texts.double().T).view(6, 4, 3).numpy().mean(0)) / 2
    scores = []
    for template in range(3):
        best = [max(logits[row, c, template] - offset[c, template] for c in range(4)) for row in range(9)]
        scores.append(sum(best) / 9)
    expected = np.exp(scores) / np.exp(scores).sum()
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_temperature_evens_the_weights_out():
    prompts, texts, images = problem(4, 3, 5, images=9)
    sharp, flat = (zpe_weights(prompts, texts, images, temperature=t) for t in (1.0, 1000.0))
    assert sharp.max() > flat.max() and torch.allclose(flat, torch.full((3,), 1 / 3).double(), atol=0.01)
    with pytest.raises(VlclsError, match="above 0"):
        zpe_weights(prompts, texts, images, temperature=0)


def test_weights_learned_from_images(clip, photos):
    made = vlcls.build_classifier(["cat", "dog"], clip, "simple", aggregate="mean-similarity", cache=False)
    weighed = vlcls.weigh_templates(made, photos, cache=False)
    rows = torch.cat([rows for _, rows, _ in made.embedded(photos, cache=False)])
    expected = zpe_weights(made.prompts, made.text_embeddings, rows, logit_scale=made.logit_scale)
    assert weighed.prompts.weights == pytest.approx(expected.tolist() * 2)
    cosines = (rows.double() @ made.text_embeddings.double().T).view(len(rows), 2, 7)
    assert torch.allclose(weighed.similarities(rows).double(), cosines @ expected, atol=1e-5)
    assert vlcls.weigh_templates(made, rows).prompts.weights == pytest.approx(weighed.prompts.weights)
    auto = vlcls.build_classifier(["cat", "dog"], clip, "simple", weighting="autoclip", cache=False)
    with pytest.raises(VlclsError, match="already"):
        vlcls.weigh_templates(auto, rows)


def test_weights_of_images_and_of_one_that_cannot_be_read(clip, photos, tmp_path):
    auto = vlcls.build_classifier(["cat", "dog"], clip, "simple", weighting="autoclip:beta=0.5", cache=False)
    (tmp_path / "bad.png").write_text("no image")
    weights = auto.prompt_weights([photos[0], tmp_path / "bad.png", photos[1]], cache=False)
    assert weights.shape == (3, 7) and weights[1].isnan().all()
    assert torch.allclose(weights[[0, 2]].sum(1), torch.ones(2), atol=1e-6)
    assert float(entropy(weights[0].double())) == pytest.approx(0.5 * math.log2(7), abs=1e-4)
    (found,) = vlcls.explain_images(auto, photos[:1], cache=False)
    shown = [weight for _, weight in found.templates]
    assert shown == pytest.approx(sorted(weights[0].tolist(), reverse=True), abs=1e-5)
    best = int(weights[0].argmax())
    assert found.templates[0][0] == auto.prompts.prompts[best].source
    plain = vlcls.build_classifier(["cat", "dog"], clip, "simple", cache=False)
    assert vlcls.explain_images(plain, photos[:1], cache=False)[0].templates == ()
    with pytest.raises(VlclsError, match="alike"):
        plain.prompt_weights(photos[:1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("autoclip", Weighting()),
        ("autoclip:beta=0.7,scaled", Weighting("autoclip", 0.7, True)),
        ("softmax: beta = 0.9", Weighting("softmax", 0.9)),
    ],
)
def test_weightings_as_people_type_them(text: str, expected: Weighting):
    assert Weighting.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autoclip:beta", "number, not 'true'"),
        ("autoclip:gamma=1", "no option 'gamma'"),
        ("autoclip:beta=1,beta=2", "twice"),
        ("autoclip:scaled=perhaps", "true or false"),
        ("zpe", "weigh_templates"),
    ],
)
def test_weightings_that_people_mistype(text: str, message: str):
    with pytest.raises(VlclsError, match=message):
        Weighting.parse(text)


def test_template_weights_go_into_the_prompts():
    prompts = with_template_weights(shared_prompts(2, 2), [0.25, 0.75])
    assert prompts.weights == [0.25, 0.75, 0.25, 0.75]


def test_a_prompt_keeps_its_own_weight_and_what_float32_cannot_hold_is_nothing():
    labels = as_labels(["cat", "dog"])
    own = [2.0, 0.5, 0.0, 4.0, 1e-20, 3.0]  # the third is not there

    def made(weights: list[float]) -> PromptSet:
        rows = [(0, 0), (0, 1), (0, 1), (1, 0), (1, 1), (1, 1)]
        return PromptSet(
            labels,
            tuple(
                Prompt(f"{row}", c, "template", template=t, weight=w)
                for row, ((c, t), w) in enumerate(zip(rows, weights, strict=True))
            ),
        )

    assert with_template_weights(made(own), [0.25, 0.5]).weights == [0.5, 0.25, 0, 1, 0.5e-20, 1.5]
    assert with_template_weights(made(own), [0.25, 1e-12]).weights == [0.5, 0.5e-12, 0, 1, 0, 3e-12]


@pytest.mark.parametrize("name", ["autoclip", "softmax", "autoclip-within-class"])
def test_prompts_of_weight_0_are_not_there(name: str):
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(8, 6, generator=generator), dim=1)
    images = F.normalize(torch.randn(4, 6, generator=generator), dim=1)
    labels = as_labels(["cat", "dog"])
    rows = [(c, t, 0.0 if t == 3 else 1.0 + c) for c in (0, 1) for t in range(4)]
    if name != "autoclip":
        rows[7] = (1, 9, 0.0)  # a template that "cat" has not
    prompts = [Prompt(f"{c} {t}", c, "template", template=t, weight=w) for c, t, w in rows]
    kept = [row for row, prompt in enumerate(prompts) if prompt.weight]
    options = {"aggregate": "mean-similarity", "weighting": Weighting(name)}
    whole = vlcls.PromptClassifier(PromptSet(labels, tuple(prompts)), texts, **options)
    small = PromptSet(labels, tuple(prompts[row] for row in kept))
    without = vlcls.PromptClassifier(small, texts[kept], **options)
    assert torch.allclose(whole.similarities(images), without.similarities(images), atol=1e-6)
    found = whole.prompt_weights(images)
    if name == "autoclip-within-class":
        assert not found[:, [3, 7]].any()
        found = found[:, kept]
    else:
        assert shared_templates(whole.prompts) == [0, 1, 2]
    assert torch.allclose(found, without.prompt_weights(images), atol=1e-6)
