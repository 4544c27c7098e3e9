"""The interface of every dual encoder: images and texts to unit vectors of one space.

One tower turns pixels into embeddings, the other turns *token embeddings* into embeddings. Token ids
are only one way to make token embeddings (a row of the lookup table each), which is why a learned class
name needs nothing of its own: `encode_token_embeddings` takes whatever rows it is given.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vlcls.errors import EncoderError, VlclsWarning

Precision = Literal["fp32", "bf16", "fp16"]

#: Tokens (padding included) in one pass of the text tower: enough to fill a device, few enough for memory.
#: `benchmarks/speed/text.py --sweep` times other values.
TOKENS_PER_BATCH = 8192

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What the tokenizer does to these goes into the fingerprint: case, punctuation, accents, other scripts.
_TOKENIZER_PROBES = ["a photo of a Cat.", "Déjà-vu, 2 CATS & 10 dogs!", "写真 🐱", ""]


@dataclass(frozen=True)
class Tokens:
    """A batch of tokenised texts, padded on the right.

    Attributes:
        ids: Tensor[B, L] int64, token ids.
        lengths: Tensor[B] int64. Positions from `lengths[b]` on can be dropped without changing the
            embedding of text b; L for towers whose padding takes part in the result.
        cut: Tensor[B] bool, True where the text was longer than the context and lost its end.
        mask: Tensor[B, L] int64 attention mask for towers that take one, else None.
    """

    ids: Tensor
    lengths: Tensor
    cut: Tensor
    mask: Tensor | None = None

    def rows(self, index: Tensor) -> Tokens:
        """The texts at `index`, cut after the longest of them."""
        longest = int(self.lengths[index].max())
        mask = None if self.mask is None else self.mask[index, :longest]
        return Tokens(self.ids[index, :longest], self.lengths[index], self.cut[index], mask)

    def to(self, device: torch.device) -> Tokens:
        mask = None if self.mask is None else self.mask.to(device)
        return Tokens(self.ids.to(device), self.lengths.to(device), self.cut, mask)


class Encoder(ABC):
    """A pair of towers with a shared embedding space of D dimensions.

    Attributes:
        spec: The string `load_encoder` was given.
        device: Where both towers are.
        precision: "fp32", "bf16" or "fp16": the autocast type of the towers. Embeddings are float32 always.
        logit_scale: Factor from cosine to logit as trained (the exponential is already applied).
        logit_bias: Added to every logit (SigLIP); 0 for softmax families.
        activation: "softmax" (CLIP) or "sigmoid" (SigLIP): how the training loss turned logits into
            probabilities.
        embedding_dim: D.
        context_length: Most tokens the text tower takes.
        image_size: (height, width) of the pixels that `preprocess` makes.
        mean, std: Channel statistics that the image tower expects; applied on the device.
    """

    spec: str
    device: torch.device
    precision: Precision
    logit_scale: float
    logit_bias: float = 0.0
    activation: Literal["softmax", "sigmoid"] = "softmax"
    embedding_dim: int
    context_length: int
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    # ---- what a family of encoders provides -----------------------------------------------------------

    @property
    @abstractmethod
    def modules(self) -> nn.Module:
        """Both towers, in one module: its state dict is what the fingerprint covers."""

    @property
    @abstractmethod
    def token_table(self) -> nn.Module:
        """The text tower's lookup table, Tensor[..., L] ids -> Tensor[..., L, F]."""

    @property
    @abstractmethod
    def vocabulary(self) -> dict[str, int]:
        """Every token as the tokenizer spells it (with its marks of word ends or beginnings), and its id."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Architecture and preprocessing as plain JSON data; part of the fingerprint."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> Tensor:
        """The model's own preprocessing of one RGB image, up to and without normalisation.

        Safe to call from many threads or worker processes at once.

        Returns:
            Tensor[3, H, W] uint8; or float32, already normalised, for a model whose own preprocessing
            cannot be split before the normalisation.
        """

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The model's own tokenizer, padded and truncated as the model was trained. No warning here."""

    @abstractmethod
    def image_features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels Tensor[N, 3, H, W] float -> Tensor[N, D], not yet unit length."""

    @abstractmethod
    def text_features(self, tokens: Tokens) -> Tensor:
        """Tokens -> Tensor[B, D], not yet unit length. Reads token embeddings through `token_table` only."""

    # ---- what every encoder can then do ---------------------------------------------------------------

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Embed a batch that `preprocess` made.

        Args:
            pixels: Tensor[N, 3, H, W], uint8 (normalised here, on the device) or float32 (as it is).

        Returns:
            Tensor[N, D] float32 on the encoder's device, rows of unit length.
        """
        with torch.inference_mode(), self.autocast():
            features = self.image_features(self.normalise(pixels))
        return F.normalize(features.float(), dim=-1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels that `preprocess` made, on the encoder's device and as `image_features` takes them."""
        pixels = pixels.to(self.device, non_blocking=self.device.type == "cuda")
        if pixels.dtype != torch.uint8:
            return pixels
        mean, std = self._channel_stats
        return pixels.float().div_(255).sub_(mean).div_(std)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Rows of the lookup table: Tensor[B, L] ids -> Tensor[B, L, F] float32."""
        table: Tensor = self.token_table(ids.to(self.device))
        return table.float()

    def encode_token_embeddings(self, embeddings: Tensor, tokens: Tokens) -> Tensor:
        """Embed texts whose tokens are given as vectors instead of ids. Differentiable.

        `encode_token_embeddings(embed_tokens(t.ids), t)` equals embedding `t` itself. Replace rows of the
        first argument to put learned vectors in place of words; `tokens` keeps telling where a text ends
        and which position is pooled, so leave a harmless id in every replaced place.

        Args:
            embeddings: Tensor[B, L, F].
            tokens: Tokens of shape [B, L].

        Returns:
            Tensor[B, D] float32 of unit length, on the encoder's device.
        """
        with self._looked_up(embeddings.to(self.device)), self.autocast():
            features = self.text_features(tokens.to(self.device))
        return F.normalize(features.float(), dim=-1)

    def encode_texts(
        self,
        texts: Sequence[str],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Embed texts; each distinct text once, in batches of about equal length.

        For causal towers the padding after the longest text of a batch is never computed. Texts over the
        context length are cut, with one `VlclsWarning` that names them.

        Args:
            texts: M strings.
            tokens_per_batch: Upper bound on B x L of one pass.
            progress: Called with the number of texts just finished.

        Returns:
            Tensor[M, D] float32 on the encoder's device, rows of unit length.
        """
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return torch.zeros(0, self.embedding_dim, device=self.device)
        tokens = self.tokenize(distinct)
        self._warn_of_cuts(distinct, tokens.cut)
        result = torch.empty(len(distinct), self.embedding_dim, device=self.device)
        position = {text: row for row, text in enumerate(distinct)}
        order = torch.tensor([position[text] for text in texts])
        copies = torch.bincount(order, minlength=len(distinct))
        for rows in batches_by_length(tokens.lengths, tokens_per_batch):
            batch = tokens.rows(rows).to(self.device)
            with torch.inference_mode(), self.autocast():
                features = self.text_features(batch)
            result[rows.to(self.device)] = F.normalize(features.float(), dim=-1)
            if progress is not None:
                progress(int(copies[rows].sum()))
        return result[order.to(self.device)]

    def autocast(self) -> torch.autocast:
        """The context both towers run in."""
        dtype = _DTYPES[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of architecture, weights, preprocessing and tokenizer: the key of every cache.

        Device and precision are left out: they change an embedding by rounding only.
        """
        digest = hashlib.sha256(json.dumps(self.description, sort_keys=True).encode())
        tokens = self.tokenize(_TOKENIZER_PROBES)
        digest.update(json.dumps(tokens.ids.tolist()).encode())
        state = sorted(self.modules.state_dict().items())
        with ThreadPoolExecutor() as pool:  # hashlib lets go of the interpreter lock
            for (name, _), weights in zip(
                state, pool.map(_tensor_digest, (t for _, t in state)), strict=True
            ):
                digest.update(name.encode() + weights)
        return digest.hexdigest()

    @cached_property
    def _channel_stats(self) -> tuple[Tensor, Tensor]:
        shape = (1, len(self.mean), 1, 1)
        return (
            torch.tensor(self.mean, device=self.device).view(shape),
            torch.tensor(self.std, device=self.device).view(shape),
        )

    @contextmanager
    def _looked_up(self, embeddings: Tensor) -> Iterator[None]:
        """While this lasts, the lookup table answers with `embeddings` whatever ids it is asked for."""

        def answer(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            if output.shape != embeddings.shape:
                raise EncoderError(
                    f"token embeddings of shape {tuple(embeddings.shape)} were given where the text tower "
                    f"looks up {tuple(output.shape)}"
                )
            return embeddings.to(output.dtype)

        hook = self.token_table.register_forward_hook(answer)
        try:
            yield
        finally:
            hook.remove()

    def _warn_of_cuts(self, texts: Sequence[str], cut: Tensor) -> None:
        long = [texts[row] for row in cut.nonzero().flatten().tolist()]
        if long:
            named = "; ".join(repr(text if len(text) < 60 else text[:57] + "...") for text in long[:3])
            more = f" and {len(long) - 3} more" if len(long) > 3 else ""
            warnings.warn(
                f"{len(long)} of {len(texts)} texts are longer than the encoder's {self.context_length} "
                f"tokens and were cut: {named}{more}",
                VlclsWarning,
                stacklevel=3,
            )


def batches_by_length(lengths: Tensor, tokens_per_batch: int) -> Iterator[Tensor]:
    """Row numbers, longest texts first (memory peaks at once, not at the end), B x L bounded."""
    rows = torch.argsort(lengths, descending=True, stable=True)
    start = 0
    while start < len(rows):
        size = max(1, tokens_per_batch // max(1, int(lengths[rows[start]])))
        yield rows[start : start + size]
        start += size


def _tensor_digest(tensor: Tensor) -> bytes:
    data = tensor.detach().cpu().contiguous()
    header = f"{data.dtype}{tuple(data.shape)}".encode()
    digest = hashlib.sha256(header)
    digest.update(data.flatten().view(torch.uint8).numpy().data)
    return digest.digest()
