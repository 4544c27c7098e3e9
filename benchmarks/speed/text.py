"""Texts per second when a classifier is built of ImageNet names and CLIP's 80 templates.

vlcls against `open_clip.build_zero_shot_classifier` with its default batches: same weights, same process,
alternating runs, medians of ratios. The classifiers must agree first. `--sweep` times vlcls with other
sizes of batch.

    python benchmarks/speed/text.py
    python benchmarks/speed/text.py --classes 40 --sweep
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import models
import timing

TOKENS_PER_BATCH = (1024, 2048, 4096, 8192, 16384, 32768, 65536)


def compare(folder: Path, names: list[str], rounds: int) -> str:
    """Table of vlcls against open_clip's builder, both with the weights saved in `folder`."""
    import open_clip

    import vlcls
    from vlcls.classifiers.prompt import classifier_from_prompts
    from vlcls.labels import Labels
    from vlcls.prompts import prompts_from_templates

    name = f"local-dir:{folder}"
    model, _ = open_clip.create_model_from_pretrained(name)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    theirs = partial(
        open_clip.build_zero_shot_classifier, model.eval(), open_clip.get_tokenizer(name), names, templates
    )
    encoder = vlcls.load_encoder(f"open_clip:{name}", "cpu", "fp32")
    labels = Labels(tuple(names), tuple(str(index) for index in range(len(names))))

    def ours() -> Any:  # from names: filling the templates counts
        prompts = prompts_from_templates(labels, "openai-imagenet")
        return classifier_from_prompts(prompts, encoder, cache=False).zero_shot_weights

    encoder.fingerprint  # noqa: B018  (a hash of the weights, once for each loaded model)
    difference = float((ours() - theirs().T).abs().max())
    if difference > 1e-5:
        raise SystemExit(f"the classifiers disagree: weights differ by {difference:.1e}")
    seconds = timing.alternate({"vlcls": ours, "open_clip builder": theirs}, rounds)
    count = len(names) * len(templates)
    rows = [
        [who, timing.per_second(seconds, who, count), timing.times_as_fast(seconds, "vlcls", who)]
        for who in seconds
    ]
    table = timing.markdown_table(["80-template classifier", "texts/s", "vlcls is times as fast"], rows)
    return f"{table}\n\nLargest difference of a weight: {difference:.1e}"


def sweep(folder: Path, names: list[str], rounds: int) -> str:
    """Table of texts per second by `tokens_per_batch`."""
    import open_clip

    import vlcls
    from vlcls.encoders.base import TOKENS_PER_BATCH as DEFAULT

    encoder = vlcls.load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
    texts = [fill(name) for name in names for fill in open_clip.OPENAI_IMAGENET_TEMPLATES]
    encoder.encode_texts(texts[:80])
    settings = {
        str(size): partial(encoder.encode_texts, texts, tokens_per_batch=size)
        for size in sorted({*TOKENS_PER_BATCH, DEFAULT})
    }
    seconds = timing.alternate(settings, rounds)
    rows = [
        [
            size,
            timing.per_second(seconds, size, len(texts)),
            timing.times_as_fast(seconds, size, str(DEFAULT)),
        ]
        for size in settings
    ]
    total = int(encoder.tokenize(texts).lengths.sum())
    table = timing.markdown_table(["tokens per batch", "texts/s", f"times as fast as {DEFAULT}"], rows)
    return f"{table}\n\n{len(texts)} texts of {total} tokens in all"


def main() -> None:
    from open_clip import IMAGENET_CLASSNAMES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, default=10, help="of ImageNet's 1000 (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each contestant (default: %(default)s)"
    )
    parser.add_argument("--sweep", action="store_true", help="time sizes of batch instead of the peer")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    # Spread over the list: its start is all fish and birds.
    names = IMAGENET_CLASSNAMES[:: max(1, 1000 // options.classes)][: options.classes]
    with tempfile.TemporaryDirectory() as scratch:
        run = sweep if options.sweep else compare
        result = run(models.save_open_clip(Path(scratch) / "model"), names, options.rounds)
    print(f"{timing.machine()}; {len(names)} classes, text tower of ViT-B/32, {options.rounds} rounds\n")
    print(result)


if __name__ == "__main__":
    main()
