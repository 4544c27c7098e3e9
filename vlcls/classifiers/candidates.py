"""Which words of some captions may be the name of what the captions are about.

The steps are those of CaSED (Conti et al., "Vocabulary-free Image Classification", NeurIPS 2023, arXiv
2306.00917) and of its published code, in their order. Only the tagger is another one: HanTa, whose model is
in its wheel, in place of one that has to be downloaded. It gives the tags of the British National Corpus,
which `PENN` maps to those that the steps are written in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vlcls.articles import inflect_engine
from vlcls.errors import CaptionError, library
from vlcls.wordnet import lemmas

#: Words that say what kind of picture it is.
PICTURE_WORDS = frozenset(
    (
        *("image", "photo", "picture", "thumbnail", "logo", "symbol", "clipart", "portrait", "painting"),
        *("illustration", "icon", "profile"),
    )
)
#: Penn tags of words that may name something: nouns, adjectives, participles.
KEPT_TAGS = frozenset(["NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS", "VBG", "VBN"])
#: Those of nouns alone. Not in the paper, nor is `_is_thing`.
NOUN_TAGS = frozenset(["NN", "NNS", "NNP", "NNPS"])
#: What stands for an image whose captions leave no word.
FALLBACK = "object"

#: Tags of the British National Corpus (C5), as HanTa gives them, to Penn's. Those not here, "UNC" among them
#: (no item of the English lexicon: Latin, formulae), have no kept counterpart.
PENN = {
    "NN": "NN",
    "NN0": "NN",
    "NN1": "NN",
    "NN2": "NNS",
    "NP0": "NNP",
    "AJ0": "JJ",
    "AJC": "JJR",
    "AJS": "JJS",
    **dict.fromkeys(["VVG", "VBG", "VDG", "VHG"], "VBG"),
    **dict.fromkeys(["VVN", "VBN", "VDN", "VHN"], "VBN"),
}

Tagger = Callable[[Sequence[str]], Sequence[str]]

#: WordNet 3.0 numbers its acts and sports ("running") below its animals, of which this is the first.
_FIRST_THING = 1313093
_LEAST_COUNT = 2
_SHORTEST = 3
# Not in the paper. The time that tagging and singularising take grows with the square of a word's length, and
# no word of English is longer; the time of step 1 grows with the square of a text of nothing but "<".
_LONGEST = 45
_LONGEST_CAPTION = 2000

_TOKEN = re.compile(r"<[^>]+>")
_URL = re.compile(r"http\S+")
_SPECIAL = re.compile(r"[^\w\s\-.'&]")
_EXTENSION = re.compile(r"\.\w+")
_SEPARATOR = re.compile(r"[_\-]")
_NOT_LETTER = re.compile(r"[^a-zA-Z\s]")
_KEPT_ENDINGS = ("ss", "us", "is", "ies", "oes")


def candidate_names(
    captions: Iterable[str],
    tagger: Tagger | None = None,
    *,
    only: frozenset[str] | None = None,
    blocked: frozenset[str] = frozenset(),
    nouns: bool = False,
) -> list[str]:
    """The words of captions that pass the filter, sorted; none if none does.

    Args:
        captions: Texts about one image; they are joined into one.
        tagger: Gives each of some words its Penn tag; HanTa by default.
        only: Words, as `normal_words` gives them, that alone may remain.
        blocked: Words, likewise, that are dropped as `PICTURE_WORDS` are.
        nouns: Nouns alone, and of words in -ing ("hanging", which taggers take for one) only things ("ring"),
            in place of adjectives and participles too; words of `only` stay what they are.
    """
    words = caption_words(captions)
    words = [word for word in words if word not in PICTURE_WORDS and word not in blocked]
    if only is not None:
        words = [word for word in words if word in only]
    counts = Counter(words)
    least = min(_LEAST_COUNT, max(counts.values(), default=0))
    words = [word for word in words if counts[word] >= least]
    tags = (tagger or hanta_tags)(words) if words else []
    if nouns and only is None:
        return sorted(
            {word for word, tag in zip(words, tags, strict=True) if tag in NOUN_TAGS and _is_thing(word)}
        )
    return sorted({word for word, tag in zip(words, tags, strict=True) if tag in KEPT_TAGS})


def _is_thing(word: str) -> bool:
    return not word.endswith("ing") or word in _things_in_ing()


@lru_cache(maxsize=1)
def _things_in_ing() -> frozenset[str]:
    """Nouns in -ing that name something, by WordNet: "ring", "building", and not "sailing", "running"."""
    return frozenset(
        lemma.lower()
        for synset, own in lemmas().items()
        if int(synset[1:]) >= _FIRST_THING
        for lemma in own
        if lemma.lower().endswith("ing")
    )


def caption_words(captions: Iterable[str]) -> list[str]:
    """All words of some captions in their order: cleaned, in lower case, singular (steps 1 to 9)."""
    text = " ".join(caption[:_LONGEST_CAPTION] for caption in captions)
    for pattern in (_TOKEN, _URL, _SPECIAL, _EXTENSION):
        text = pattern.sub("", text)
    text = _SEPARATOR.sub(" ", text)
    text = " ".join(word for word in text.split() if _SHORTEST <= len(word) <= _LONGEST)
    # Short words go before other characters do: "a1b" is left as "ab".
    return [singular(word) for word in _NOT_LETTER.sub("", text).lower().split()]


def normal_words(words: Iterable[str]) -> frozenset[str]:
    """Words as the filter leaves them, so that they can be compared: every one of "Red pandas"."""
    return frozenset(word for text in words for word in caption_words([text]))


@lru_cache(maxsize=1 << 16)
def singular(word: str) -> str:
    """A word that ends in "s" in the singular; those in ss, us, is, ies and oes stay as they are (step 9)."""
    if not word.endswith("s") or word.endswith(_KEPT_ENDINGS):
        return word
    return str(inflect_engine().singular_noun(word) or word)


def load_tagger(name: str = "hanta") -> Tagger:
    """ "hanta", or "spacy:MODEL" for an English model that is installed or in a folder.

    Raises:
        CaptionError: No such tagger or model.
        MissingExtraError: HanTa is not installed.
    """
    if name == "hanta":
        _hanta()
        return hanta_tags
    library, _, model = name.partition(":")
    if library != "spacy" or not model:
        raise CaptionError(f"no tagger {name!r}: there are hanta, and spacy:MODEL")
    if find_spec("spacy") is None:
        raise CaptionError(f"tagger {name!r}: spaCy is not installed: pip install spacy")
    import spacy

    try:
        pipeline = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
    except OSError as error:
        raise CaptionError(f"tagger {name!r}: {error}") from error

    def tags(words: Sequence[str]) -> list[str]:
        found = [token.tag_ for token in pipeline(spacy.tokens.Doc(pipeline.vocab, words=list(words)))]
        if found and not any(found):
            raise CaptionError(f"tagger {name!r} gives no part-of-speech tags")
        return found

    return tags


def hanta_tags(words: Sequence[str]) -> list[str]:
    """Penn tags of words in a row, "" where a tag has no counterpart; HanTa's English model."""
    found: list[str] = _hanta().tag_sent(list(words), taglevel=0, casesensitive=False)
    return [PENN.get(tag, "") for tag in found]


@lru_cache(maxsize=1)
def _hanta() -> Any:
    hanta = library("HanTa.HanoverTagger", "finding names in captions", "captions")
    # By its whole path: HanTa would take a file of that name in the working directory, and unpickle it.
    model = Path(hanta.__file__).with_name("morphmodel_en.pgz")
    tagger = hanta.HanoverTagger(str(model))
    # Words that it does not know take most of its time, and come again with every image of their kind.
    tagger.analyze_forward = lru_cache(maxsize=1 << 16)(tagger.analyze_forward)
    return tagger
