"""An encoder whose embeddings are mean colours."""

import numpy as np
import torch
from torch import nn

from vlcls.doctor.reference import UNIT, Preprocessing, Reference, TextTower
from vlcls.encoders.base import Encoder, Tokens

WORDS = {"red": 0, "green": 1, "blue": 2, "a": 3, "of": 4, "photo": 5}
SIDE = 32


class Colours(Encoder):
    logit_scale, embedding_dim, context_length, image_size = 20.0, 3, 8, (SIDE, SIDE)
    mean, std, vocabulary, description = (0.0,) * 3, (1.0,) * 3, WORDS, {"colours": 1}

    def __init__(self, rest, device, precision):
        self.device, self.precision = device, precision
        rows = torch.cat([torch.eye(3), 0.1 - 0.05 * torch.eye(3)])
        self.modules = self.token_table = nn.Embedding.from_pretrained(rows).to(device)

    modules = token_table = None  # set above; the base class has abstract properties

    def preprocess(self, image):
        return torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1).contiguous()

    def tokenize(self, texts):
        words = [text.lower().replace(".", " ").split() or ["of"] for text in texts]
        ids = [torch.tensor([WORDS.get(word, 3 + len(word) % 3) for word in own[:8]]) for own in words]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=3)
        lengths = torch.tensor([len(own) for own in ids])
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        return Tokens(padded, lengths, torch.tensor([len(own) > 8 for own in words]), mask)

    def image_features(self, pixels):
        return pixels.mean((2, 3)) + 0.01

    def text_features(self, tokens):
        return (self.token_table(tokens.ids) * tokens.mask[..., None]).sum(1)


def heat(encoder, pixels, texts):
    """How much of a text's colours each place has: Tensor[T, 8, 8]."""
    return torch.einsum("td,dhw->thw", texts, nn.functional.avg_pool2d(pixels[0], SIDE // 8))


def reference(encoder):
    def own(image):
        return encoder.preprocess(image).float() / 255

    def texts(given):
        return encoder.text_features(encoder.tokenize(given).to(encoder.device))

    images = Preprocessing(own, (UNIT,), (), ("squash",), "bicubic", ("bicubic",), None)
    tower = TextTower(texts, len(WORDS), 8, False, False, None, "elsewhere", True)
    return Reference("colours", images, tower, False, ("skip", "it has none."), None, fixed_scale=True)
