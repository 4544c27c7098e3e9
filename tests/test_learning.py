"""Learning names: the worked example, gradients of every family, chunks, splits, stopping, the whole way."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import MODELS
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import vlcls
from vlcls.encoders.base import Encoder, Tokens
from vlcls.errors import LabelError, VlclsError
from vlcls.explain.vocabulary import Vocabulary
from vlcls.image_sources import find_images
from vlcls.labelled import LabelledEmbeddings, LabelledImages
from vlcls.labels import as_labels
from vlcls.learning import REPORT, Training, learn_from_embeddings, learn_names, split_shots
from vlcls.learning.checkpoint import CHECKPOINT
from vlcls.learning.problem import LearningProblem, Start, start_vectors
from vlcls.learning.result import Report
from vlcls.learning.tower import checkpointed_layers
from vlcls.learning.training import Examples, _rate, train
from vlcls.learning.transfer import base_to_novel
from vlcls.prompts import prompts_from_templates

LABELS = as_labels(["cat", "dog", "elephant"])
GENERATOR = torch.Generator


def unit_rows(count: int, width: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


# ---- the worked example of two classes and an identity text tower --------------------------------------


class IdentityEncoder(Encoder):
    """Text tower: the embedding of the last word. Three words, two dimensions."""

    def __init__(self) -> None:
        self.spec, self.device, self.precision = "identity", torch.device("cpu"), "fp32"
        self.logit_scale, self.embedding_dim, self.context_length = 10.0, 2, 8
        self.table = nn.Embedding.from_pretrained(torch.tensor([[0.0, 0], [1, 0], [0, 1], [0.7, 0.7]]))
        self.words = ["it", "cat", "dog", "pet"]

    @property
    def modules(self) -> nn.Module:
        return self.table

    @property
    def token_table(self) -> nn.Module:
        return self.table

    @property
    def vocabulary(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @property
    def description(self) -> dict[str, Any]:
        return {}

    def preprocess(self, image: Any) -> Tensor:
        raise NotImplementedError

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        ids = [[self.words.index(w) if w in self.words else 0 for w in text.split()] or [0] for text in texts]
        lengths = torch.tensor([len(own) for own in ids])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(own) for own in ids], True)
        return Tokens(padded, lengths, torch.zeros(len(texts), dtype=torch.bool))

    def image_features(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError

    def text_features(self, tokens: Tokens) -> Tensor:
        rows = torch.arange(len(tokens.ids))
        return self.token_table(tokens.ids)[rows, tokens.lengths - 1]


def test_the_worked_example():
    """Two classes, identity tower, logit scale 10: logits, loss, gradient and one step by hand."""
    encoder = IdentityEncoder()
    prompts = prompts_from_templates(as_labels(["cat", "dog"]), "name")
    problem = LearningProblem(encoder, prompts, [1, 1], "mean-embedding")
    images, targets = torch.tensor([[0.8, 0.6], [0.28, 0.96]]), torch.tensor([0, 1])
    vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    logits = problem.logits(problem.tower.embed(vectors), images)
    assert logits.flatten().tolist() == pytest.approx([8, 9.6, 2.8, 9.36], abs=1e-5)
    assert logits.softmax(1).flatten().tolist() == pytest.approx([0.1680, 0.8320, 0.0014, 0.9986], abs=5e-5)
    loss, gradient = problem.gradient(vectors, images, targets)
    assert loss == pytest.approx(0.8927, abs=5e-5)
    assert gradient.flatten().tolist() == pytest.approx([0, -2.4893, 0.9339, -0.7004], abs=5e-5)
    stepped = vectors - 0.1 * gradient
    assert stepped.flatten().tolist() == pytest.approx([1, 0.2489, 0.5066, 0.8700], abs=5e-5)
    loss, _ = problem.gradient(stepped, images, targets)
    assert loss == pytest.approx(0.3508, abs=5e-5)
    logits = problem.logits(problem.tower.embed(stepped), images)
    assert logits[0].tolist() == pytest.approx([9.2124, 9.2106], abs=5e-5)
    vocabulary = Vocabulary(encoder)
    cosines = [{n.word: n.cosine for n in vocabulary.nearest(row, 4)} for row in stepped]
    assert [cosines[0][w] for w in ("cat", "dog", "pet")] == pytest.approx([0.9704, 0.2416, 0.8570], abs=5e-5)
    assert [cosines[1][w] for w in ("cat", "dog", "pet")] == pytest.approx([0.5032, 0.8642, 0.9669], abs=5e-5)
    assert [next(iter(each)) for each in cosines] == ["cat", "pet"]
    assert vocabulary.rank(stepped[0], encoder.table.weight[1]) == 1
    assert vocabulary.rank(stepped[1], encoder.table.weight[2]) == 2


def test_the_gradient_is_that_of_the_formula():
    """dL/dT = s (P - Y)' X / B, through the norm, for random rows, in float64 by loops."""
    encoder = IdentityEncoder()
    prompts = prompts_from_templates(as_labels(["cat", "dog", "pet"]), "name")
    problem = LearningProblem(encoder, prompts, [1, 1, 1], "mean-embedding")
    images, targets = unit_rows(5, 2, 0), torch.tensor([0, 1, 2, 0, 1])
    vectors = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    _, gradient = problem.gradient(vectors, images, targets)
    x, f = images.double(), vectors.double()
    wanted = torch.zeros(3, 2, dtype=torch.float64)
    for row, target in enumerate(targets.tolist()):
        t = [each / each.norm() for each in f]
        exps = [math.exp(10 * float(x[row] @ each)) for each in t]
        for index in range(3):
            share = exps[index] / sum(exps) - (index == target)
            towards = 10 * share * x[row] / 5
            wanted[index] += (towards - (towards @ t[index]) * t[index]) / f[index].norm()
    assert (gradient - wanted).abs().max() <= 1e-6


# ---- gradients of every family -------------------------------------------------------------------------


def problem_of(
    encoder: Encoder, aggregate: str = "mean-embedding", **options: Any
) -> tuple[LearningProblem, Tensor]:
    prompts = prompts_from_templates(LABELS, ["a photo of a {}.", "a small {} of the dog", "{}"])
    start = start_vectors(encoder, prompts)
    return LearningProblem(encoder, prompts, start.counts, aggregate, **options), start.vectors  # type: ignore[arg-type]


def agrees_with_finite_differences(problem: LearningProblem, vectors: Tensor) -> None:
    """Along random directions and the gradient itself: (L(v + h d) - L(v - h d)) / 2h = g . d."""
    images, targets = unit_rows(12, problem.encoder.embedding_dim, 3), torch.arange(12) % 3
    _, gradient = problem.gradient(vectors, images, targets)
    assert float(gradient.norm()) > 0
    generator = torch.Generator().manual_seed(4)
    directions = [torch.randn(vectors.shape, generator=generator) for _ in range(2)] + [gradient]
    for direction in directions:
        direction = direction / direction.norm()

        def loss(step: float, along: Tensor = direction) -> float:
            return problem.evaluate(vectors + step * along, images, targets)[1]

        step = 1e-3 * float(vectors.norm())
        # Two step sizes: the error of second order cancels.
        coarse, fine = ((loss(h) - loss(-h)) / (2 * h) for h in (2 * step, step))
        found = (4 * fine - coarse) / 3
        wanted = float((gradient * direction).sum())
        assert found == pytest.approx(wanted, rel=2e-2, abs=2e-2 * float(gradient.norm()))


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_agree_with_finite_differences(kind: str, get_encoder):
    problem, vectors = problem_of(get_encoder(kind))
    agrees_with_finite_differences(problem, vectors)


@pytest.fixture(scope="module")
def conse():
    return vlcls.load_encoder("conse", "cpu", "fp32")


def test_gradients_of_conse_agree_with_finite_differences(conse):
    problem, vectors = problem_of(conse)
    agrees_with_finite_differences(problem, vectors)


@pytest.mark.parametrize("kind", ["open_clip-clip", "hf-siglip"])
@pytest.mark.parametrize("aggregate", ["mean-embedding", "mean-similarity"])
def test_chunks_give_the_gradient_of_the_whole(kind: str, aggregate: str, get_encoder):
    """Gradient caching against one graph over everything."""
    encoder = get_encoder(kind)
    whole, vectors = problem_of(encoder, aggregate)
    parts, _ = problem_of(encoder, aggregate, tokens_at_once=1)
    assert len(whole.tower.chunks) == 1 and len(parts.tower.chunks) == 9
    images, targets = unit_rows(8, encoder.embedding_dim, 0), torch.arange(8) % 3
    leaf = vectors.clone().requires_grad_()
    with checkpointed_layers(encoder):
        texts, _ = whole.tower.embed_for_gradient(leaf)
    similarities = torch.stack(
        [
            torch.stack([x @ _class_vector(whole, texts, index, aggregate) for index in range(3)])
            for x in images
        ]
    )
    logits = encoder.logit_scale * similarities + encoder.logit_bias
    if encoder.activation == "softmax":
        wanted_loss = -logits.log_softmax(1)[torch.arange(8), targets].mean()
    else:
        signs = 2 * F.one_hot(targets, 3) - 1
        wanted_loss = -(F.logsigmoid(signs * logits)).sum(1).mean()
    first = whole.gradient(vectors, images, targets)
    second = parts.gradient(vectors, images, targets)
    with checkpointed_layers(encoder):
        third = whole.gradient(vectors, images, targets)
    assert first[0] == pytest.approx(float(wanted_loss), abs=1e-4)
    size = float(first[1].abs().max())
    assert (first[1] - second[1]).abs().max() <= 1e-4 * size
    assert (first[1] - third[1]).abs().max() <= 1e-4 * size


def _class_vector(problem: LearningProblem, texts: Tensor, index: int, aggregate: str) -> Tensor:
    rows = [row for row, prompt in enumerate(problem.prompts) if prompt.class_index == index]
    mean = sum(texts[row] for row in rows) / len(rows)
    assert isinstance(mean, Tensor)
    return mean / mean.norm() if aggregate == "mean-embedding" else mean


def test_max_is_refused(clip):
    with pytest.raises(VlclsError, match="no gradient"):
        problem_of(clip, "max")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_too(model_spec, precision):
    encoder = vlcls.load_encoder(model_spec("open_clip-clip"), "cpu", precision)
    problem, vectors = problem_of(encoder)
    full, _ = problem_of(vlcls.load_encoder(model_spec("open_clip-clip"), "cpu", "fp32"))
    images, targets = unit_rows(8, 48, 0), torch.arange(8) % 3
    half = problem.gradient(vectors, images, targets)[1]
    wanted = full.gradient(vectors, images, targets)[1]
    assert half.dtype == torch.float32
    assert float(F.cosine_similarity(half.flatten(), wanted.flatten(), dim=0)) > 0.98


# ---- splits --------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.one_of(st.none(), st.integers(1, 8)),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.integers(0, 3),
)
def test_splits_are_disjoint_whole_and_hold_the_shots(indices, shots, validation, seed):
    classes = torch.tensor(indices)
    split = split_shots(classes, shots=shots, validation=validation, seed=seed)
    rows = torch.cat([split.train, split.validation, split.held_out])
    assert sorted(rows.tolist()) == list(range(len(indices)))
    for index in set(indices):
        count = indices.count(index)
        aside = int(validation * count)
        assert int((classes[split.validation] == index).sum()) == aside
        taken = count - aside if shots is None else min(shots, count - aside)
        assert int((classes[split.train] == index).sum()) == taken
    assert all(part.tolist() == sorted(part.tolist()) for part in vars(split).values())
    again = split_shots(classes, shots=shots, validation=validation, seed=seed)
    assert all(torch.equal(a, b) for a, b in zip(vars(split).values(), vars(again).values(), strict=True))
    if shots is not None:
        more = split_shots(classes, shots=shots + 1, validation=validation, seed=seed)
        assert set(split.train.tolist()) <= set(more.train.tolist())


def test_splits_that_cannot_be():
    with pytest.raises(VlclsError, match="share"):
        split_shots(torch.tensor([0]), validation=1.0)
    with pytest.raises(VlclsError, match="0 to below 1"):
        split_shots(torch.tensor([0]), validation=-0.1)
    with pytest.raises(VlclsError, match="at least 1 shot"):
        split_shots(torch.tensor([0]), shots=0)


# ---- the whole way -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blobs() -> LabelledEmbeddings:
    """Forty images around three directions of CLIP's 48-dimensional space, not those of the names."""
    centres, classes = unit_rows(3, 48, 7), torch.arange(42) % 3
    noise = torch.randn(42, 48, generator=torch.Generator().manual_seed(8))
    rows = F.normalize(centres[classes] + 0.08 * noise, dim=1)
    return LabelledEmbeddings(rows, classes, {}, tuple(f"image {row}" for row in range(42)))


@pytest.fixture(scope="module")
def plain(clip) -> vlcls.PromptClassifier:
    return vlcls.build_classifier(LABELS, clip, ["a photo of a {}.", "{}"], cache=False)


def test_names_are_learned_and_nothing_else_is_changed(clip, plain, blobs):
    frozen = {name: tensor.clone() for name, tensor in clip.modules.state_dict().items()}
    result = learn_from_embeddings(plain, blobs, shots=4, settings=Training(epochs=15), cache=False)
    assert (
        max(
            float((tensor - frozen[name]).abs().max()) if tensor.is_floating_point() else 0.0
            for name, tensor in clip.modules.state_dict().items()
        )
        == 0.0
    )
    assert all(not p.requires_grad and p.grad is None for p in clip.modules.parameters())
    assert not clip.modules.training and "forward" not in vars(clip.model.transformer.resblocks[0])
    held_out = result.split.held_out
    before, after = (result.accuracy(each, held_out) for each in (result.before, result.classifier))
    assert before is not None and after is not None and after > before and after >= 0.9
    assert [epoch.number for epoch in result.history] == list(range(1, 16)) and result.best_epoch == 15
    assert result.history[-1].loss < result.history[0].loss
    assert result.learned == (0, 1, 2) and result.peak_memory > 2**20


def test_at_step_0_it_is_the_zero_shot_classifier(clip, blobs):
    plain = vlcls.build_classifier(["cat", "small red elephant", "dog"], clip, "simple", cache=False)
    start = start_vectors(clip, plain.prompts)
    assert start.counts == (1, 3, 1)
    problem = LearningProblem(clip, plain.prompts, start.counts, plain.aggregate)
    logits = problem.logits(problem.tower.embed(start.vectors), blobs.embeddings)
    assert (logits - plain.scores(blobs.embeddings)).abs().max() <= 1e-4
    accuracy, _ = problem.evaluate(start.vectors, blobs.embeddings, blobs.class_indices)
    right = plain.similarities(blobs.embeddings).argmax(1) == blobs.class_indices
    assert accuracy == float(right.float().mean())
    one = start_vectors(clip, plain.prompts, "one")
    assert one.counts == (1, 1, 1)
    assert (one.vectors[1] - start.vectors[1:4].mean(0)).abs().max() <= 1e-7


def test_classes_without_images_keep_their_names(clip, blobs):
    labels = ["cat", "owl", "dog", "elephant", "horse"]
    descriptors = {name: ["two eyes"] for name in labels}
    from vlcls.descriptors import Descriptor, DescriptorSet

    described = DescriptorSet(
        as_labels(labels), tuple((Descriptor(each[0]),) for each in descriptors.values())
    )
    plain = vlcls.build_classifier(encoder=clip, descriptors=described, cache=False)
    moved = LabelledEmbeddings(
        blobs.embeddings, torch.tensor([0, 2, 3])[blobs.class_indices], {}, blobs.names
    )
    result = learn_from_embeddings(plain, moved, settings=Training(epochs=2), cache=False)
    prompts = result.classifier.prompts
    assert result.learned == (0, 2, 3)
    assert [p.text for p in prompts.of_class(1)] == ["owl, which has two eyes"]
    assert prompts.of_class(4) == plain.prompts.of_class(4)
    assert all(p.learned is not None for index in (0, 2, 3) for p in prompts.of_class(index))
    # A second data set, with images of another class: earlier names stay as they are, to the last bit.
    second = LabelledEmbeddings(blobs.embeddings, torch.full((42,), 4), {}, blobs.names)
    again = learn_from_embeddings(result.classifier, second, settings=Training(epochs=2), cache=False)
    assert again.learned == (4,)
    for index in range(4):
        assert again.classifier.prompts.of_class(index) == prompts.of_class(index)
    rows = torch.tensor([p.class_index < 4 for p in again.classifier.prompts])
    old = torch.tensor([p.class_index < 4 for p in prompts])
    assert torch.equal(again.classifier.text_embeddings[rows], result.classifier.text_embeddings[old])


def test_learned_names_are_learned_on(clip, plain, blobs):
    first = learn_from_embeddings(plain, blobs, settings=Training(epochs=3), validation=0, cache=False)
    more = learn_from_embeddings(
        first.classifier, blobs, settings=Training(epochs=3), validation=0, cache=False
    )
    assert more.history[0].loss == pytest.approx(
        LearningProblem(clip, first.classifier.prompts, [1, 1, 1], first.classifier.aggregate).evaluate(
            torch.cat([p.learned.vectors for p in first.classifier.prompts if p.learned][::2]),
            blobs.embeddings,
            blobs.class_indices,
        )[1],
        abs=1e-4,
    )
    assert len(more.classifier.prompts.learned) == 3


def test_early_stopping_takes_the_best_epoch(plain, blobs):
    settings = Training(epochs=40, patience=3, learning_rate=0.5, schedule="constant")
    result = learn_from_embeddings(plain, blobs, settings=settings, validation=0.3, cache=False)
    keys = [(e.validation_accuracy, -(e.validation_loss or 0)) for e in result.history]
    best = keys[result.best_epoch - 1]
    assert best == max(keys)
    assert len(result.history) == 40 or len(result.history) - result.best_epoch == 3
    assert result.accuracy(result.classifier, result.split.validation) == pytest.approx(best[0])


def test_a_penalty_keeps_names_near_their_start(clip, plain, blobs):
    def distance(penalty: float) -> float:
        settings = Training(epochs=10, penalty=penalty)
        result = learn_from_embeddings(plain, blobs, settings=settings, validation=0, cache=False)
        start = start_vectors(clip, plain.prompts).vectors
        names = {p.class_index: p.learned.vectors for p in result.classifier.prompts if p.learned}
        return float((torch.cat([names[index] for index in range(3)]) - start).norm())

    assert distance(1000.0) < 0.5 * distance(0.0)


def small_problem() -> tuple[LearningProblem, Start, Examples, Examples]:
    """Two names of one word, by an identity tower; half of the images to learn from, half to validate."""
    prompts = prompts_from_templates(as_labels(["cat", "dog"]), "name")
    start = start_vectors(IdentityEncoder(), prompts)
    problem = LearningProblem(IdentityEncoder(), prompts, start.counts, "mean-embedding")
    images, targets = unit_rows(12, 2, 5), torch.arange(12) % 2
    return problem, start, Examples(images[:6], targets[:6]), Examples(images[6:], targets[6:])


def test_three_steps_by_a_slow_loop():
    """Adam on the loss and penalty |V - V_0|^2 / (numbers in V x scale^2), its gradient by autograd."""
    problem, start, examples, _ = small_problem()
    start = replace(start, scale=0.4)
    settings = Training(epochs=3, penalty=30.0, learning_rate=0.1, schedule="linear", batch_size=6)
    found = train(problem, start, examples, Examples(torch.empty(0, 2), torch.empty(0).long()), settings)
    vectors = start.vectors.clone().requires_grad_()
    optimiser = torch.optim.Adam([vectors])
    for step in range(3):
        penalty = 30.0 * (vectors - start.vectors).square().sum() / (4 * 0.4**2)
        loss, gradient = problem.gradient(vectors, examples.images, examples.targets)
        vectors.grad = gradient + torch.autograd.grad(penalty, vectors)[0]
        optimiser.param_groups[0]["lr"] = 0.1 * 0.4 * (1 - step / 3)
        optimiser.step()
        assert found.history[step].loss == pytest.approx(loss + float(penalty.detach()), rel=1e-5)
    assert (found.vectors - vectors.detach()).abs().max() <= 1e-6
    assert torch.equal(found.best, found.vectors) and found.best_epoch == 3


def test_the_best_epoch_is_kept_and_not_the_last():
    problem, start, examples, validation = small_problem()
    settings = Training(epochs=30, patience=4, learning_rate=0.6, schedule="constant", penalty=0)
    state = train(problem, start, examples, validation, settings)
    assert state.best_epoch < len(state.history) and not torch.equal(state.best, state.vectors)
    best = state.history[state.best_epoch - 1]
    found = problem.evaluate(state.best, validation.images, validation.targets)
    assert found == (best.validation_accuracy, best.validation_loss)
    assert len(state.history) == 30 or len(state.history) == state.best_epoch + 4


def test_labels_that_have_changed_are_noticed(tmp_path):
    problem, start, examples, validation = small_problem()
    settings = Training(epochs=1)
    train(problem, start, examples, validation, settings, folder=tmp_path)
    turned = replace(examples, targets=1 - examples.targets)
    with pytest.raises(VlclsError, match="images or labels"):
        train(problem, start, turned, validation, settings, folder=tmp_path)
    with pytest.raises(VlclsError, match="validation images"):
        train(problem, start, examples, replace(validation, targets=1 - validation.targets), settings,
              folder=tmp_path)  # fmt: skip
    assert len(train(problem, start, examples, validation, settings, folder=tmp_path).history) == 1


def test_small_batches_see_every_image(plain, blobs):
    result = learn_from_embeddings(
        plain, blobs, settings=Training(epochs=4, batch_size=5), validation=0, cache=False
    )
    assert result.history[-1].loss < result.history[0].loss


def test_schedules():
    half_cosine = (1 + math.sqrt(0.5)) / 2  # of 45 degrees, a quarter of the way
    for schedule, wanted in {
        "cosine": [1, half_cosine, 0.5, 0],
        "linear": [1, 0.75, 0.5, 0],
        "constant": [1, 1, 1, 1],
    }.items():
        rates = [_rate(done, Training(schedule=schedule)) for done in (0, 0.25, 0.5, 1)]  # type: ignore[arg-type]
        assert rates == pytest.approx(wanted)
    warm = Training(warmup=0.5)
    assert _rate(0, warm) == pytest.approx(0.01 / 0.51) and _rate(0.25, warm) == pytest.approx(0.26 / 0.51)
    assert _rate(0.5, warm) == 1 and _rate(0.75, warm) == pytest.approx(0.5) == _rate(0.5, Training())
    assert Training() == Training("tokens", 50, 1024, 0.1, "cosine", 0.0, 1.0, 10, 0)  # as docs have it
    # After a warm-up the schedule is over what is left: half of it at three quarters.
    assert _rate(0.75, Training(schedule="linear", warmup=0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vectors": "two"},
        {"schedule": "steps"},
        {"epochs": 0},
        {"learning_rate": 0},
        {"penalty": -1},
        {"warmup": 1},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(VlclsError):
        Training(**wrong)


def test_from_images_to_a_saved_classifier(tmp_path, clip, picture):
    """`learn_names` on a folder and on a data set; a broken image is left out."""
    for number in range(18):
        target = tmp_path / "images" / LABELS.names[number % 3]
        target.mkdir(parents=True, exist_ok=True)
        picture(number % 3).resize((30 + number, 30)).save(target / f"{number}.png")
    (tmp_path / "images/cat/broken.png").write_text("no image")
    result = learn_names(None, tmp_path / "images", clip, settings=Training(epochs=3), cache=False)
    assert result.classifier.labels == LABELS and len(result.embedded) == 18
    assert len(result.embedded.errors) == 1 and len(result.split.validation) == 3
    folder = result.save(tmp_path / "names")
    again = vlcls.load(folder)
    assert torch.equal(again.text_embeddings, result.classifier.text_embeddings)
    report = json.loads((folder / REPORT).read_text())
    assert len(report["images"]) == 18 and report["images"][0]["class"] == "cat"
    assert report["accuracy"]["train"]["images"] == 15 and len(report["history"]) == 3
    assert report["settings"]["epochs"] == 3 and report["peak_memory_bytes"] > 0
    two = LabelledImages(*_two_classes(tmp_path / "images"))  # in another order than the classifier's
    more = learn_names(iter(["owl", "dog", "cat"]), two, clip, settings=Training(epochs=1), cache=False)
    assert more.learned == (1, 2)


def _two_classes(folder):
    sources = find_images([folder / "cat" / f"{number}.png" for number in range(0, 18, 3)])
    sources += find_images([folder / "dog"])
    labels = as_labels(["dog", "cat"])
    return sources, tuple(labels.names.index(s.data.parent.name) for s in sources), {}, labels


def test_a_data_set_is_learned_from(clip, picture):
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"image": [picture(n % 2) for n in range(8)], "label": [n % 2 for n in range(8)]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    result = learn_names(None, dataset, clip, "photo", settings=Training(epochs=1), cache=False)
    assert result.classifier.labels.names == ("cat", "dog") and len(result.embedded) == 8


def test_embeddings_need_names_that_fit(plain, blobs):
    with pytest.raises(LabelError, match="give `classes`"):
        learn_names(None, blobs)
    with pytest.raises(LabelError, match="0 to 1"):
        learn_names(["a", "b"], blobs, plain.encoder, cache=False)
    below = replace(blobs, class_indices=blobs.class_indices - 1)
    with pytest.raises(LabelError, match="0 to 2"):
        learn_names(["a", "b", "c"], below, plain.encoder, cache=False)


def test_reports_that_cannot_be():
    good = {"settings": {}, "best_epoch": 0, "peak_memory_bytes": 0, "history": (), "images": ()}
    good["accuracy"] = {"all": {"images": 0, "before": 0.0, "learned": 1.0}}
    Report.model_validate(good)
    for name in ("best_epoch", "peak_memory_bytes"):
        with pytest.raises(ValueError, match=name):
            Report.model_validate(good | {name: -1})
    for name, value in (
        ("images", -1),
        ("before", -0.1),
        ("before", 1.1),
        ("learned", -0.1),
        ("learned", 1.1),
    ):
        accuracy = {"all": good["accuracy"]["all"] | {name: value}}
        with pytest.raises(ValueError, match=name):
            Report.model_validate(good | {"accuracy": accuracy})


# ---- base to novel -------------------------------------------------------------------------------------


def test_base_to_novel_by_an_independent_count(clip, plain, blobs):
    result = base_to_novel(plain, blobs, settings=Training(epochs=10), shots=4, cache=False)
    assert len(result.base) == 2 and sorted(result.base + result.novel) == [0, 1, 2]
    assert result.learning.learned == result.base and len(result.learning.history) == 10

    def by_hand(classifier, rows, among):
        similarities = classifier.similarities(blobs.embeddings)
        right = 0
        for row in rows:
            scores = {index: float(similarities[row, index]) for index in among}
            right += max(scores, key=scores.__getitem__) == int(blobs.class_indices[row])
        return right / len(rows)

    of_base = [row for row in range(42) if int(blobs.class_indices[row]) in result.base]
    held_out = [of_base[place] for place in result.learning.split.held_out.tolist()]
    novel = [row for row in range(42) if row not in of_base]
    every = (0, 1, 2)
    for found, classifier, among in (
        (result.before, plain, (result.base, result.novel)),
        (result.learned, result.learning.classifier, (result.base, result.novel)),
        (result.before_all, plain, (every, every)),
        (result.learned_all, result.learning.classifier, (every, every)),
    ):
        base, new = by_hand(classifier, held_out, among[0]), by_hand(classifier, novel, among[1])
        assert (found.base, found.novel) == (pytest.approx(base), pytest.approx(new))
        assert found.harmonic == pytest.approx(2 * base * new / (base + new) if base + new else 0)
    assert result.learned.novel == result.before.novel
    with pytest.raises(VlclsError, match="held out"):
        base_to_novel(plain, blobs, settings=Training(epochs=1), cache=False)


# ---- going on after a stop -----------------------------------------------------------------------------


class StoppedError(Exception):
    pass


def test_a_run_that_goes_on_ends_the_same_to_the_last_bit(tmp_path, plain, blobs):
    settings = Training(epochs=8, batch_size=7, warmup=0.1, penalty=0.1)

    def learned(folder, **options):
        result = learn_from_embeddings(
            plain, blobs, settings=settings, validation=0.2, folder=folder, cache=False, **options
        )
        return torch.cat([name.vectors for name in result.classifier.prompts.learned.values()]), result

    def stop(epoch):
        if epoch.number == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        learned(tmp_path, progress=stop)
    assert (tmp_path / CHECKPOINT).is_file()
    seen: list[int] = []
    resumed, result = learned(tmp_path, progress=lambda epoch: seen.append(epoch.number))
    whole, other = learned(None)
    assert torch.equal(resumed, whole) and result.history == other.history and seen == list(range(1, 9))
    assert torch.equal(learned(tmp_path)[0], whole)  # nothing is left to do
    result.save(tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path, plain, blobs):
    learn_from_embeddings(plain, blobs, settings=Training(epochs=1), folder=tmp_path, cache=False)
    with pytest.raises(VlclsError, match="other settings"):
        learn_from_embeddings(plain, blobs, settings=Training(epochs=2), folder=tmp_path, cache=False)
    with pytest.raises(VlclsError, match="images or labels"):
        learn_from_embeddings(
            plain, blobs, shots=2, settings=Training(epochs=1), folder=tmp_path, cache=False
        )
    (tmp_path / CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(VlclsError, match="no readable checkpoint"):
        learn_from_embeddings(plain, blobs, settings=Training(epochs=1), folder=tmp_path, cache=False)
