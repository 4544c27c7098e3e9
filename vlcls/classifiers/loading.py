"""Loading saved classifiers, from a folder or from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls.arguments import takes
from vlcls.classifiers.prompt import PromptClassifier
from vlcls.classifiers.saved import CONFIG, WEIGHTS, read_classifier
from vlcls.errors import VlclsError
from vlcls.files.reading import is_folder

if TYPE_CHECKING:
    from vlcls.encoders import Encoder


@takes(folder="path", device="device?", precision="precision?")
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
        prompts, embeddings, settings, fitted = read_classifier(path)
        classifier = PromptClassifier(prompts, embeddings, **settings)
    except VlclsError as error:
        raise VlclsError(f"{path} holds no readable classifier: {error}") from error
    classifier.fitted = fitted or classifier.fitted
    if encoder is None and classifier.encoder_info is not None and (device or precision):
        from vlcls.encoders import load_named_encoder

        encoder = load_named_encoder(classifier.encoder_info.spec, str(path), device, precision)
    if encoder is not None:
        from vlcls.encoders import as_encoder

        classifier.encoder = as_encoder(encoder, device, precision)
    return classifier


def _local(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if is_folder(path):
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
