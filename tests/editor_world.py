"""A small world for the editor: gulls and crabs on sea and sand, and an encoder that sees colours.

An image is a red (gull) or green (crab) square on blue (sea) or yellow (sand). The encoder's five dimensions
are red, green, sea, sand and nothing in particular; texts are the sum of their words. The descriptors speak
of the background: without "blue sea all around", which is to blame, every image is right.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from PIL import Image
from torch import Tensor, nn

from vlcls.app.material import Material, Wording, open_descriptors, open_images, prepare
from vlcls.app.workbench import Workbench
from vlcls.descriptors import DescriptorSet, write_descriptors
from vlcls.descriptors.base import Descriptor
from vlcls.encoders.base import Encoder, Tokens
from vlcls.labels import Labels, as_labels

WORDS = {"red": 0, "green": 1, "blue": 2, "sea": 2, "yellow": 3, "sand": 3}
SIDE = 32
BLAMED = "blue sea all around"
DESCRIPTORS = (("a red body", BLAMED), ("a green body", "yellow sand all around"))


class ColourEncoder(Encoder):
    """Counts the texts that it encodes."""

    def __init__(self) -> None:
        self.spec, self.device, self.precision = "colours", torch.device("cpu"), "fp32"
        self.logit_scale, self.embedding_dim, self.context_length = 20.0, 5, 16
        self.image_size, self.mean, self.std = (SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        table = torch.cat([torch.eye(5), torch.zeros(1, 5)])
        table[4] *= 0.1
        self.table = nn.Embedding.from_pretrained(table)
        self.encoded: list[str] = []

    @property
    def modules(self) -> nn.Module:
        return self.table

    @property
    def token_table(self) -> nn.Module:
        return self.table

    @property
    def vocabulary(self) -> dict[str, int]:
        return WORDS

    @property
    def description(self) -> dict[str, Any]:
        return {"colours": 1}

    def preprocess(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1).contiguous()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        words = [text.lower().replace(",", " ").split() for text in texts]
        ids = [[WORDS.get(word, 4) for word in own][:16] or [4] for own in words]
        cut = torch.tensor([len(own) > 16 for own in words])
        lengths = torch.tensor([len(own) for own in ids])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(own) for own in ids], True, 5)
        return Tokens(padded, lengths, cut)

    def image_features(self, pixels: Tensor) -> Tensor:
        body, ground = pixels[:, :, 12:20, 12:20].mean((2, 3)), pixels[:, :, :6, :6].mean((2, 3))
        red = body[:, 0] - body[:, 1]
        sea = ground[:, 2] - ground[:, 0]
        parts = [red.relu(), (-red).relu(), 1.5 * sea.relu(), 1.5 * (-sea).relu(), torch.full_like(red, 0.1)]
        return torch.stack(parts, 1)

    def text_features(self, tokens: Tokens) -> Tensor:
        return self.token_table(tokens.ids).sum(1)

    def encode_texts(self, texts: Sequence[str], **options: Any) -> Tensor:
        self.encoded += texts
        return super().encode_texts(texts, **options)


def draw(path: Path, body: int, ground: int, generator: np.random.Generator) -> None:
    colours = np.array([(205, 40, 40), (40, 205, 40), (40, 90, 205), (205, 190, 40)])
    pixels = np.empty((SIDE, SIDE, 3))
    pixels[:] = colours[2 + ground]
    pixels[8:24, 8:24] = colours[body]
    pixels += generator.integers(-20, 20, 3) + generator.integers(-6, 6, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((160, 160)).save(path)


def make_images(folder: Path, classes: Sequence[str] = ("gull", "crab"), each: int = 8) -> Path:
    """`each` images of every class on every ground: folder/GROUND/CLASS/NUMBER.png."""
    generator = np.random.default_rng(0)
    for ground, place in enumerate(("sea", "sand")):
        for body, name in enumerate(classes):
            for number in range(each):
                draw(folder / place / name / f"{number:02}.png", body, ground, generator)
    return folder


def descriptors(labels: Labels | None = None) -> DescriptorSet:
    own = tuple(tuple(map(Descriptor, texts)) for texts in DESCRIPTORS)
    return DescriptorSet(labels or as_labels(["gull", "crab"]), own)


def make_material(
    folder: Path, encoder: Encoder, known: DescriptorSet | None = None, *, share: float = 0.5
) -> Material:
    """Images and descriptors below a folder, opened as the command does."""
    file = write_descriptors(known or descriptors(), folder / "birds.json")
    wording = Wording()
    classifier, read = open_descriptors(str(file), lambda: encoder, wording, aggregate=None, cache=False)
    given = open_images(str(folder / "images"), classifier, ())
    return prepare(given, classifier, read, wording, held_out_share=share, seed=0, cache=False)


@contextmanager
def served(bench: Workbench, **options: Any) -> Iterator[str]:
    """The page of a session, while this lasts; gives its address."""
    from vlcls.app.serve import address, bound, build_app

    listening = bound("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(build_app(bench, **options), log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            thread.join(0.05)
        yield address("127.0.0.1", listening)
    finally:
        server.should_exit = True
        thread.join(20)


if __name__ == "__main__":  # a server that will be killed: edit, tell, and wait
    from vlcls.app.session import without

    root = Path(sys.argv[1])
    bench = Workbench(make_material(root, ColourEncoder()), root / "session", cache=False)
    bench.edit(0, lambda known: without(known, 0, 1), "deleted")
    print("edited", flush=True)
    sys.stdin.read()
