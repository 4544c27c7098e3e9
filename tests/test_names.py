"""Reading learned names: nearest words, strayed names, doubted labels, suggestions, the contact sheet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import MODELS
from PIL import Image

import vlcls
from vlcls.errors import LabelError, VlclsError
from vlcls.explain import doubted_labels, read_names, save_sheet, suggest_names, wordnet_names
from vlcls.explain.vocabulary import Vocabulary, whole_words
from vlcls.labelled import LabelledEmbeddings
from vlcls.labels import as_labels
from vlcls.learning import Training, learn_from_embeddings
from vlcls.prompts import LearnedName, prompts_from_templates, with_learned_names


@pytest.mark.parametrize("kind", MODELS)
def test_whole_words_of_every_vocabulary(kind: str, get_encoder):
    encoder = get_encoder(kind)
    if kind == "hf-siglip2":  # its small vocabulary has letters only
        with pytest.raises(VlclsError, match="no token that is a word"):
            whole_words(encoder)
        return
    words = whole_words(encoder)
    assert "cat" in words.values() and "dog" in words.values()
    assert all(len(word) > 1 and word.isalpha() for word in words.values())
    for token, word in list(words.items())[:: max(1, len(words) // 20)]:
        assert encoder.vocabulary[next(t for t, i in encoder.vocabulary.items() if i == token)] == token
        assert token in encoder.tokenize([f"a {word}"]).ids[0].tolist() or kind.startswith("hf-siglip")


def test_pieces_of_words_are_no_words(clip):
    words = set(whole_words(clip).values())
    assert {"elephant", "guitar"} <= words and "</w>" not in "".join(words)
    encoder = clip.tokenizer.encoder
    assert "ele" in encoder and encoder["ele"] not in whole_words(clip)


def test_nearest_words_against_a_loop(clip):
    vocabulary = Vocabulary(clip)
    vector = torch.randn(64, generator=torch.Generator().manual_seed(0))
    table, v = clip.token_table.weight.double(), vector.double()
    cosines = {
        word: float(table[token] @ v / (table[token].norm() * v.norm()))
        for token, word in whole_words(clip).items()
    }
    wanted = sorted(cosines, key=cosines.__getitem__, reverse=True)
    found = vocabulary.nearest(vector, 4)
    assert [each.word for each in found] == wanted[:4]
    assert [each.cosine for each in found] == pytest.approx([cosines[w] for w in wanted[:4]], abs=1e-5)
    for place in (0, 3, 1000):
        token = clip.tokenizer.encoder[f"{wanted[place]}</w>"]
        assert vocabulary.rank(vector, clip.token_table.weight[token]) == place + 1


def spelt(encoder, labels, vectors, templates="photo") -> vlcls.PromptClassifier:
    """A classifier whose names of some classes are the given vectors."""
    from vlcls.classifiers.prompt import classifier_from_prompts

    prompts = prompts_from_templates(as_labels(labels), templates)
    names = {index: LearnedName(labels[index], rows, encoder.fingerprint) for index, rows in vectors.items()}
    return classifier_from_prompts(with_learned_names(prompts, names), encoder, cache=False)


def token_rows(encoder, word: str) -> torch.Tensor:
    ids = torch.tensor([[encoder.tokenizer.encoder[f"{each}</w>"] for each in word.split()]])
    return encoder.embed_tokens(ids)[0]


def test_a_name_that_became_another_word_is_read_so(clip):
    labels = ["cat", "dog", "red apple", "horse"]
    made = spelt(
        clip,
        labels,
        {0: token_rows(clip, "dog") * 1.5, 2: token_rows(clip, "red apple"), 3: token_rows(clip, "horse")},
    )
    cat, apple, horse = read_names(made, words=3)
    assert (cat.label, apple.label, horse.label) == ("cat", "red apple", "horse")
    (vector,) = cat.vectors
    assert vector.original == "cat" and vector.nearest[0].word == "dog"
    assert vector.nearest[0].cosine == pytest.approx(1, abs=1e-5) and vector.rank > 1
    start, end = token_rows(clip, "cat")[0], 1.5 * token_rows(clip, "dog")[0]
    assert vector.moved == pytest.approx(float((end - start).norm() / start.norm()), rel=1e-5)
    assert vector.cosine == pytest.approx(float(F.cosine_similarity(start, end, dim=0)), abs=1e-5)
    assert cat.strayed and cat.nearest_label == "dog" and cat.own < cat.nearest_cosine
    assert [each.original for each in apple.vectors] == ["red", "apple"]
    assert [(each.rank, each.moved) for each in apple.vectors] == [(1, 0), (1, 0)]
    assert not apple.strayed and apple.own == pytest.approx(1, abs=1e-5)
    one = spelt(clip, labels, {2: token_rows(clip, "red apple").mean(0, keepdim=True)})
    (vector,) = read_names(one)[0].vectors
    assert vector.original == "red apple" and vector.moved == pytest.approx(0, abs=1e-6) and vector.rank == 1


def test_without_learned_names_there_is_nothing_to_read(clip):
    plain = vlcls.build_classifier(["cat", "dog"], clip, cache=False)
    with pytest.raises(VlclsError, match="no learned names"):
        read_names(plain)


# ---- label errors --------------------------------------------------------------------------------------


def test_doubts_are_ranked_by_how_sure_the_other_class_is():
    labels = ["a", "b", "c"]
    made = vlcls.classifier_from_embeddings(labels, torch.eye(3), logit_scale=5.0)
    rows = F.normalize(torch.tensor([[1.0, 0, 0], [1, 0.9, 0], [0, 1, 0], [0.1, 0, 1], [0.5, 1, 0]]), dim=1)
    embedded = LabelledEmbeddings(rows, torch.tensor([0, 1, 0, 2, 0]), {}, ("v", "w", "x", "y", "z"))
    doubts = doubted_labels(made, embedded)
    assert [(d.image, d.row, d.label, d.predicted) for d in doubts] == [
        ("x", 2, "a", "b"),
        ("z", 4, "a", "b"),
        ("w", 1, "b", "a"),
    ]
    for doubt in doubts:
        logits = (5 * rows[doubt.row]).double().exp()
        shares = logits / logits.sum()
        wanted = shares[labels.index(doubt.predicted)] - shares[labels.index(doubt.label)]
        assert doubt.score == pytest.approx(float(wanted), abs=1e-5)


def test_planted_errors_are_found(clip):
    """A tenth of one class's labels is flipped; the list ranks these images first (average precision)."""
    generator = torch.Generator().manual_seed(1)
    centres = F.normalize(torch.randn(4, 48, generator=generator), dim=1)
    truth = torch.arange(200) % 4
    rows = F.normalize(centres[truth] + 0.12 * torch.randn(200, 48, generator=generator), dim=1)
    flipped = (truth == 2).nonzero().flatten()[:5]
    wrong = truth.clone()
    wrong[flipped] = torch.tensor([0, 1, 3, 0, 1])
    names = tuple(f"image {row}" for row in range(200))
    plain = vlcls.build_classifier(["cat", "dog", "horse", "elephant"], clip, cache=False)
    clip_like = replace_scale(plain, 30.0)
    noisy = LabelledEmbeddings(rows, wrong, {}, names)
    result = learn_from_embeddings(
        clip_like, noisy, validation=0, settings=Training(epochs=30, learning_rate=0.3), cache=False
    )
    doubts = doubted_labels(result.classifier, noisy)
    hits = [place for place, doubt in enumerate(doubts, start=1) if doubt.row in flipped.tolist()]
    precision = sum((number + 1) / place for number, place in enumerate(hits)) / len(flipped)
    assert precision >= 0.7


def replace_scale(classifier, scale):
    classifier.logit_scale = scale
    return classifier


# ---- suggestions ---------------------------------------------------------------------------------------


def test_a_class_with_a_wrong_name_gets_one_nearer_to_the_truth():
    """Images of guitars under the name "violin", made of what the encoder takes guitars to be."""
    encoder = vlcls.load_encoder("conse", "cpu", "fp32")
    truth = ["guitar", "dog", "house"]
    texts = encoder.encode_texts([f"a photo of a {name}." for name in truth])
    indices = torch.arange(24) % 3
    noise = torch.randn(24, texts.shape[1], generator=torch.Generator().manual_seed(0))
    rows = F.normalize(texts[indices] + 0.01 * noise, dim=1)
    images = LabelledEmbeddings(rows, indices, {}, tuple(map(str, range(24))))
    plain = vlcls.build_classifier(["violin", "dog", "house"], encoder, cache=False)
    result = learn_from_embeddings(
        plain, images, validation=0, settings=Training(epochs=20, penalty=0), cache=False
    )
    candidates = ["violin", "guitar", "acoustic guitar", "cello", "banjo", "dog", "house", "piano", "tree"]
    found = suggest_names(result.classifier, candidates, count=3, cache=False)
    assert list(found) == [0, 1, 2]
    cosines = [each.cosine for each in found[0]]
    assert cosines == sorted(cosines, reverse=True) and len(cosines) == 3
    named, suggested = encoder.encode_texts(["a photo of a violin.", f"a photo of a {found[0][0].name}."])
    assert float(suggested @ texts[0]) > float(named @ texts[0])
    with pytest.raises(LabelError, match="no candidate"):
        suggest_names(result.classifier, [" "], cache=False)


def test_suggestions_use_the_templates_of_the_class(clip):
    templates = ["a photo of a {}.", "a drawing of the {}"]
    made = spelt(clip, ["cat", "dog"], {0: token_rows(clip, "horse")}, templates)
    (found,) = suggest_names(made, ["cat", "horse", "apple", "horse"], cache=False).values()
    assert found[0].name == "horse" and found[0].cosine == pytest.approx(1, abs=1e-5) and len(found) == 3
    texts = clip.encode_texts(["a photo of an apple.", "a drawing of the apple"]).mean(0)
    wanted = F.cosine_similarity(texts, made.zero_shot_weights[0], dim=0)
    assert next(s.cosine for s in found if s.name == "apple") == pytest.approx(float(wanted), abs=1e-5)


def test_wordnet_has_names_to_suggest():
    names = wordnet_names()
    assert {"guitar", "violin", "tiger"} <= set(names) and len(set(names)) == len(names) > 20_000


# ---- the sheet -----------------------------------------------------------------------------------------


def test_the_sheet_shows_every_doubt(tmp_path, picture):
    made = vlcls.classifier_from_embeddings(["a", "b"], torch.eye(2), logit_scale=5.0)
    embedded = LabelledEmbeddings(
        torch.eye(2)[[1] * 7], torch.zeros(7, dtype=torch.int64), {}, tuple("1234567")
    )
    doubts = doubted_labels(made, embedded)
    path = save_sheet(doubts, [picture(n, 40 + 10 * n, 60) for n in range(7)], tmp_path / "sheet.png")
    whole = Image.open(path)
    one = Image.open(save_sheet(doubts[:1], [picture(0)], tmp_path / "one.png"))
    assert whole.width > 2 * one.width and whole.height > 1.5 * one.height
    first = path.read_bytes()
    assert save_sheet(doubts, [picture(n, 40 + 10 * n, 60) for n in range(7)], path).read_bytes() == first
    with pytest.raises(VlclsError, match=r"\.png, \.pdf"):
        save_sheet(doubts, [], tmp_path / "sheet.gif")
    with pytest.raises(VlclsError, match="nothing to draw"):
        save_sheet([], [], tmp_path / "sheet.png")
    odd = [replace(doubts[0], label="$x_1$", image="d/très_long_nom_de_fichier_$2$.png")]
    assert save_sheet(odd, [picture(1)], tmp_path / "odd.pdf").is_file()
