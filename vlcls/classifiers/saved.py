"""Saved classifiers: a folder of JSON and safetensors that loads without encoding any text again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.classifiers.base import EncoderInfo
from vlcls.errors import VlclsError
from vlcls.labels import Labels
from vlcls.prompts import LearnedName, PromptSet

if TYPE_CHECKING:
    from vlcls.classifiers.prompt import PromptClassifier
    from vlcls.encoders import Encoder

CONFIG = "classifier.json"
WEIGHTS = "text_embeddings.safetensors"
_FORMAT = 1
#: Prefix of the tensors, in the file of weights, that hold learned names.
_LEARNED = "learned_names/"


def save_prompt_classifier(classifier: PromptClassifier, folder: Path) -> Path:
    """Write `classifier.json` (for people too) and `text_embeddings.safetensors`, each atomically."""
    from safetensors.torch import save

    from vlcls.store import write_atomically

    info = classifier.encoder_info
    learned = classifier.prompts.learned
    vectors = {_LEARNED + word: name.vectors.contiguous() for word, name in learned.items()}
    weights = save({"text_embeddings": classifier.text_embeddings.cpu().contiguous(), **vectors})
    config = {
        "format": _FORMAT,
        "type": "prompts",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "encoder": None if info is None else vars(info),
        "aggregate": classifier.aggregate,
        "weighting": None if classifier.weighting is None else vars(classifier.weighting),
        "logit_scale": classifier.logit_scale,
        "logit_bias": classifier.logit_bias,
        "activation": classifier.activation,
        "labels": [
            {"id": identifier, "name": name}
            for identifier, name in zip(classifier.labels.ids, classifier.labels.names, strict=True)
        ],
        "prompts": classifier.prompts.to_json(),
    }
    if learned:  # without it, files are what earlier releases write
        config["learned_names"] = {
            word: {"name": name.name, "fingerprint": name.fingerprint} for word, name in learned.items()
        }
    write_atomically(folder, WEIGHTS, weights)
    write_atomically(folder, CONFIG, (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode())
    return folder


def load(
    folder: str | Path,
    encoder: str | Encoder | None = None,
    *,
    device: str | None = None,
    precision: Any = None,
) -> PromptClassifier:
    """Load a classifier that `save_pretrained` or `push_to_hub` wrote.

    Args:
        folder: A folder, or `ORG/NAME` on the Hugging Face Hub.
        encoder: An encoder or spec to use instead of the saved spec (a moved local folder, say). Without it,
            the saved one is loaded when the first image comes.
        device, precision: For an encoder given as a spec.

    Raises:
        VlclsError: Nothing there, or not a classifier.
        EncoderMismatchError: `encoder` is not the one the texts were embedded with.
    """
    path = _local(folder)
    try:
        classifier = _read(path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise VlclsError(f"{path} holds no readable classifier: {error}") from error
    if isinstance(encoder, str):
        from vlcls.encoders import load_encoder

        encoder = load_encoder(encoder, device, precision)
    elif encoder is None and classifier.encoder_info is not None and (device or precision):
        from vlcls.encoders import load_encoder

        encoder = load_encoder(classifier.encoder_info.spec, device, precision)
    if encoder is not None:
        classifier.encoder = encoder
    return classifier


def _local(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if path.is_dir():
        return path
    if isinstance(folder, str) and folder.count("/") == 1 and not folder.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(folder, allow_patterns=[CONFIG, WEIGHTS]))
        except Exception as error:
            raise VlclsError(
                f"{folder} is neither a folder nor a reachable Hub repository: {error}"
            ) from error
    raise VlclsError(f"no folder {path}: a saved classifier is a folder with {CONFIG} in it")


def _read(path: Path) -> PromptClassifier:
    from safetensors.torch import load as load_tensors

    from vlcls.classifiers.prompt import PromptClassifier
    from vlcls.classifiers.weighting import Weighting

    config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    if config["format"] != _FORMAT:
        raise ValueError(f"format {config['format']} was written by a newer vlcls: upgrade to read it")
    labels = Labels(tuple(c["name"] for c in config["labels"]), tuple(c["id"] for c in config["labels"]))
    weights = (path / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != config["weights_sha256"]:
        raise ValueError(f"{WEIGHTS} is damaged, or belongs to another {CONFIG}")
    tensors = load_tensors(weights)
    learned = {
        word: LearnedName(vectors=tensors[_LEARNED + word], **about)
        for word, about in config.get("learned_names", {}).items()
    }
    if other := [word for word, name in learned.items() if name.word != word]:
        raise ValueError(f"the learned name {other[0]} is not what its vectors spell")
    info = config["encoder"]
    return PromptClassifier(
        PromptSet.from_json(labels, config["prompts"], learned),
        tensors["text_embeddings"],
        aggregate=config["aggregate"],
        weighting=None if config["weighting"] is None else Weighting(**config["weighting"]),
        encoder_info=None if info is None else EncoderInfo(**info),
        logit_scale=config["logit_scale"],
        logit_bias=config["logit_bias"],
        activation=config["activation"],
    )
