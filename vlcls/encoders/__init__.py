"""Dual encoders behind one interface, picked by a spec string."""

from __future__ import annotations

import reprlib
from pathlib import Path, PurePath

from vlcls.arguments import takes
from vlcls.encoders.base import Encoder, Precision, Tokens
from vlcls.encoders.families import FAMILIES, Family
from vlcls.errors import EncoderError, MissingExtraError
from vlcls.files.reading import is_folder

__all__ = ["FAMILIES", "Encoder", "Family", "Tokens", "as_encoder", "load_encoder", "load_named_encoder"]


@takes(device="device?", precision="precision?")
def load_encoder(spec: str, device: str | None = None, precision: Precision | None = None) -> Encoder:
    """Load a dual encoder.

    Args:
        spec: `open_clip:ARCH/PRETRAINED`, `open_clip:hf-hub:ORG/NAME`, `open_clip:local-dir:PATH`,
            `hf:ORG/NAME`, `hf:PATH`, `conse`, or one of a plugin's family.
        device: "cpu", "cuda", "cuda:1", "mps"; by default what Accelerate gives this process.
        precision: "fp32", "bf16", "fp16"; by default the fastest that a short probe of the device finds,
            or what `accelerate launch --mixed_precision` asks for.

    Raises:
        EncoderError: The spec is malformed, or the model could not be found or loaded.
        MissingExtraError: The family's packages are not installed.
    """
    from vlcls.encoders.placement import choose_device, choose_precision

    _check_spec(spec)
    name, _, rest = spec.partition(":")
    family = FAMILIES.get(name)
    if family is None:
        examples = ", ".join(family.examples[0] for family in FAMILIES.values())
        raise EncoderError(f"unknown encoder {spec!r}: a spec looks like one of {examples}")
    if not family.installed:
        raise MissingExtraError(f"the encoder {spec!r}", family.extra)
    target = choose_device(device)
    encoder = family.load(rest, target, choose_precision(precision, target))
    encoder.spec = spec
    return encoder


def as_encoder(
    given: str | Encoder, device: str | None = None, precision: Precision | None = None
) -> Encoder:
    """What functions that take an encoder or its spec were given, loaded if need be.

    Raises:
        EncoderError: Neither of the two; and see `load_encoder`.
        MissingExtraError: See `load_encoder`.
    """
    return given if isinstance(given, Encoder) else load_encoder(given, device, precision)


def _check_spec(spec: object) -> None:
    if isinstance(spec, str):
        return
    if isinstance(spec, PurePath):
        hint = f"write hf:{spec} or open_clip:local-dir:{spec}"
    else:
        hint = "give a spec, such as 'conse' or 'open_clip:ViT-B-32/openai', or what `load_encoder` gave"
    raise EncoderError(f"{type(spec).__name__} {reprlib.repr(spec)} is no encoder: {hint}")


def load_named_encoder(
    spec: str, where: str, device: str | None = None, precision: Precision | None = None
) -> Encoder:
    """Load the encoder that a saved thing names, which may have been saved on another machine.

    Args:
        spec: What it names.
        where: What it is, for the error: "this classifier".
        device, precision: As in `load_encoder`.

    Raises:
        EncoderError: It cannot be loaded here; says that it may be in another place, and how to give that.
        MissingExtraError: As `load_encoder`.
    """
    advice = "if it has another place here, give that: --encoder SPEC (in Python encoder=SPEC)"
    folder = _local_folder(spec)
    if folder is not None and not is_folder(Path(folder).expanduser()):
        raise EncoderError(f"{where} was built with {spec}, and there is no folder {folder} here; {advice}")
    try:
        return load_encoder(spec, device, precision)
    except MissingExtraError:
        raise
    except EncoderError as error:
        raise EncoderError(
            f"{where} was built with {spec}, which cannot be loaded: {error}; {advice}"
        ) from error


def _local_folder(spec: str) -> str | None:
    """The folder that a spec names; None for models of the Hub and of packages."""
    name, _, rest = spec.partition(":")
    return FAMILIES[name].folder(rest) if name in FAMILIES else None
