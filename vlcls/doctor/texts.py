"""Probes of the text side: is a text turned into tokens, and tokens into an embedding, as in training?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from vlcls.doctor.reference import Finding, Reference, Verdict, conclude, in_float32
from vlcls.encoders import Encoder, Tokens

#: Prompts of different lengths, so that padding has something to do.
TEXTS = [
    "a photo of a cat.",
    "a photo of the large striped dog, a type of pet, with a red ball on the green grass.",
    "horse",
]

_OVERLONG = "a photo of a small cat and a large dog " * 120


def vocabulary(encoder: Encoder, reference: Reference) -> Finding:
    """Every id of the tokenizer has a row in the lookup table."""
    table: Any = encoder.token_table
    rows, ids = int(table.weight.shape[0]), reference.texts.vocabulary
    if ids > rows:
        return "fail", (
            f"the tokenizer knows {ids} tokens but the embedding table has {rows} rows: some texts cannot be "
            "encoded and others read wrong rows, so the tokenizer is probably another model's; save the "
            "model with the tokenizer that it was trained with."
        )
    return "pass", f"{ids} tokens for {rows} rows of the embedding table."


def context_and_end_token(encoder: Encoder, reference: Reference) -> Finding:
    """The context fits the positions; texts end in the end token, after a cut too, and are pooled there."""
    tower = reference.texts
    findings = [*_context_findings(encoder, reference), *_cut_findings(encoder, reference)]
    said = "this tokenizer has no end token by design."
    if tower.end_id is not None:
        tokens = encoder.tokenize([TEXTS[0], TEXTS[2], _OVERLONG])
        findings += _end_findings(tokens, tower.end_id, tower.pools_at)
        pooled = "" if tower.pools_at == "elsewhere" else ", where it is pooled"
        said = f"texts end in token {tower.end_id}{pooled}, over-long ones too."
    return conclude(findings, f"{encoder.context_length} tokens; {said}")


def padding(encoder: Encoder, reference: Reference) -> Finding:
    """Embeddings against the library's own on input padded to the full context; alone and in company."""
    tower = reference.texts
    with in_float32(encoder):
        ours = encoder.encode_texts(TEXTS)
        alone = torch.cat([encoder.encode_texts([text]) for text in TEXTS])
        with torch.inference_mode():
            own = F.normalize(tower.own(TEXTS).float(), dim=-1)
    difference = float((ours - own).abs().max())
    company = float((ours - alone).abs().max())
    width, mask = encoder.tokenize(TEXTS[:1]).ids.shape[1], encoder.tokenize(TEXTS[:1]).mask
    if tower.attends_padding and (width != tower.positions or mask is not None):
        masked = " and masks the padding" if mask is not None else ""
        return "fail", (
            f"{reference.family} was trained on texts padded to {tower.positions} tokens with the padding "
            f"attended to, but a short text is encoded with {width} tokens{masked} (embeddings differ by "
            f"{difference:.1e}): the scores of every label are wrong; tokenize with padding='max_length', "
            f"max_length={tower.positions} and no attention mask."
        )
    if not (difference <= 1e-4 and company <= 1e-4):
        return "fail", (
            f"text embeddings differ from the model's own at full length by {difference:.1e}, and by "
            f"{company:.1e} between a text with others and alone, so padding changes the scores; please "
            "report this as a bug of vlcls."
        )
    how = (
        f"padded to {width} tokens with the padding attended to, as in training"
        if tower.attends_padding
        else "padding has no part in the embedding, so it is left out"
    )
    return "pass", f"{how} (difference to the model's own: {difference:.1e})."


def lower_casing(encoder: Encoder, reference: Reference) -> Finding:
    """Capitals, and for SigLIP punctuation, make no difference where training removed them."""
    tower = reference.texts
    same_case = _same_tokens(encoder, "A Photo of a CAT", "a photo of a cat")
    if tower.lower_cased is None:
        kept = "does not see" if same_case else "sees"
        return "skip", f"nothing says that this model needs it; its tokenizer {kept} capitals."
    findings = [*_case_findings(encoder, reference, same_case)]
    removed = " and punctuation" if tower.without_punctuation else ""
    return conclude(findings, f"capitals{removed} make no difference, as in training.")


def _case_findings(encoder: Encoder, reference: Reference, same_case: bool) -> Iterator[Finding]:
    tower = reference.texts
    if tower.lower_cased and not same_case:
        yield (
            "fail",
            f"the tokenizer does not lower-case, but {reference.family} was trained on lower-cased "
            "texts: capitals are rare or unknown tokens and such labels score low; use the tokenizer "
            "class of this family (SiglipTokenizer, Siglip2Tokenizer), or its do_lower_case.",
        )
    if tower.without_punctuation and not _same_tokens(encoder, "a photo of a cat.", "a photo of a cat"):
        yield (
            "warn",
            f"the tokenizer keeps punctuation, but {reference.family} was trained on canonicalised "
            "texts, which have none; prefer templates without a full stop.",
        )


def token_embeddings(encoder: Encoder, reference: Reference) -> Finding:
    """Looked-up rows give what their ids give, and other rows give something else."""
    with in_float32(encoder), torch.inference_mode():
        tokens = encoder.tokenize(TEXTS).to(encoder.device)
        by_id = F.normalize(encoder.text_features(tokens).float(), dim=-1)
        rows = encoder.embed_tokens(tokens.ids)
        difference = float((encoder.encode_token_embeddings(rows, tokens) - by_id).abs().max())
        moved = rows.clone()
        moved[:, 1] = -moved[:, 1]  # the first word of each text
        effect = float((encoder.encode_token_embeddings(moved, tokens) - by_id).abs().max())
    if not difference <= 1e-5:
        return "fail", (
            f"token embeddings give another result than their ids (difference {difference:.1e}): learned "
            "class names would not mean what their tokens mean; please report this as a bug of vlcls."
        )
    if not effect > 1e-6:
        return "fail", (
            "token embeddings are ignored by the text tower: learned class names would have no effect; "
            "please report this as a bug of vlcls."
        )
    return "pass", f"equal to the path from ids (difference {difference:.1e})."


def _context_findings(encoder: Encoder, reference: Reference) -> Iterator[Finding]:
    context, positions = encoder.context_length, reference.texts.positions
    if context > positions:
        yield (
            "fail",
            f"the tokenizer gives up to {context} tokens but the text tower has {positions} positions: "
            f"long texts cannot be encoded; set the tokenizer's context to {positions}.",
        )
    elif context < positions and not reference.texts.short_context:
        verdict: Verdict = "warn"
        cost = "long texts are cut earlier than they need be"
        if reference.texts.attends_padding:
            verdict = "fail"
            cost = (
                f"{reference.family} was trained on texts padded to all positions, so every text is another "
                "input"
            )
        yield (
            verdict,
            f"the tokenizer's context is {context} tokens but the text tower has {positions} positions: "
            f"{cost}; set the tokenizer's context (model_max_length) to {positions}.",
        )


def _cut_findings(encoder: Encoder, reference: Reference) -> Iterator[Finding]:
    with in_float32(encoder), torch.inference_mode():
        ours = encoder.encode_texts([_OVERLONG])
        own = F.normalize(reference.texts.own([_OVERLONG]).float(), dim=-1)
    difference = float((ours - own).abs().max())
    if not difference <= 1e-4:
        yield (
            "fail",
            f"a text over the context is not cut as the model's own library cuts it (embeddings differ by "
            f"{difference:.1e}); keep labels and templates short, and please report this as a bug of vlcls.",
        )


def _end_findings(tokens: Tokens, end_id: int, pools_at: str) -> Iterator[Finding]:
    # Only a tower that is read at the end token is blind without it.
    missing: Verdict = "warn" if pools_at == "elsewhere" else "fail"
    # Without the padding, which is made of end tokens in some tokenizers.
    *short, long = (ids[:length] for ids, length in zip(tokens.ids, tokens.lengths.tolist(), strict=True))
    if not all(bool((ids == end_id).any()) for ids in short):
        yield missing, f"the tokenizer does not put the end token ({end_id}) after a text."
    elif int(long[-1]) != end_id:
        yield (
            missing,
            f"a text over the context loses its end token ({end_id}) in the cut: its embedding is read "
            "at an ordinary word; keep labels and templates short, or correct the tokenizer.",
        )
    if pools_at == "largest" and not bool((tokens.ids.amax(dim=1) == end_id).all()):
        yield (
            "fail",
            f"the tower is read at the largest token id, which is not the end token ({end_id}): "
            "embeddings are read at an arbitrary word; the tokenizer is another model's.",
        )


def _same_tokens(encoder: Encoder, one: str, other: str) -> bool:
    ids = [encoder.tokenize([text]) for text in (one, other)]
    first, second = (tokens.ids[0, : int(tokens.lengths[0])].tolist() for tokens in ids)
    return bool(first == second)
