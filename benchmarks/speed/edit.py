"""An edit in the editor, as a browser measures it: from the press of a button to the new page.

Random weights, and stored image embeddings drawn at random: time does not depend on what they say. Edits add
a descriptor (its text is encoded by a text tower of ViT-B/32's size) and delete one. The peer scores from
nothing: every text encoded, every class scored.

    python benchmarks/speed/edit.py --images 5000 --classes 50
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import models
import numpy as np
import timing
import torch
import torch.nn.functional as F
import uvicorn
from PIL import Image

import vlcls
from vlcls.app.material import Material, Subset, Wording
from vlcls.app.serve import address, bound, build_app
from vlcls.app.workbench import Workbench
from vlcls.classifiers.prompt import classifier_from_prompts
from vlcls.descriptors import Descriptor, DescriptorSet
from vlcls.editing import score
from vlcls.image_sources import as_sources
from vlcls.imagenet import class_names
from vlcls.labels import Labels
from vlcls.wordnet import glosses


def material(images: int, classes: int, each: int, encoder: Any) -> tuple[Material, float]:
    """A session's material without images held out, and the seconds of scoring it from nothing."""
    phrases = [" ".join(gloss.split()[:6]) for gloss in glosses().values()]
    labels = Labels(tuple(class_names()[:classes]), tuple(map(str, range(classes))))
    own = (dict.fromkeys(phrases[each * place : each * (place + 1)]) for place in range(classes))
    known = DescriptorSet(labels, tuple(tuple(map(Descriptor, texts)) for texts in own))
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(images, encoder.embedding_dim, generator=generator), dim=1)
    truth = torch.randint(classes, (images,), generator=generator)
    groups = {"group": tuple(f"group {place % 5}" for place in range(images))}
    wording = Wording()
    start = time.perf_counter()
    classifier = classifier_from_prompts(wording.prompts(known), encoder, cache=False)
    score(classifier, rows)
    seconds = time.perf_counter() - start
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    sources = as_sources([Image.fromarray(pixels)]) * images
    shown = Subset(np.arange(images), rows, truth, groups)
    held = Subset(np.arange(0), rows[:0], truth[:0], {"group": ()})
    names = [f"{place}.jpg" for place in range(images)]
    content = f"{images} random rows"
    return (
        Material("random", content, sources, names, shown, held, classifier, known, wording, 0, "none"),
        seconds,
    )


def edits(url: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of additions and deletions: of the whole answer, and of scoring alone."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    whole: dict[str, list[float]] = {"add": [], "delete": []}
    scored: dict[str, list[float]] = {"add": [], "delete": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.locator("[data-do=open-class]").first.click()
        page.wait_for_selector("[data-do=apply]")
        for number in range(rounds):
            page.fill("[name=new]", f"a mark of kind {number}")
            for kind, button in (("add", "[data-do=add]"), ("delete", "[data-do=delete] >> nth=0")):
                said = "added" if kind == "add" else "deleted"
                page.evaluate("document.querySelector('#vx-answered').textContent = '-'")
                page.click(button)
                page.locator(".vx-step").filter(has_text=said).wait_for()
                page.wait_for_function("document.querySelector('#vx-answered').textContent > 0")
                whole[kind].append(float(page.inner_text("#vx-answered")))
                scored[kind].append(float(page.inner_text("#vx-scored")))
                time.sleep(1)  # the audit that follows each edit is over
        browser.close()
    return whole, scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--descriptors", type=int, default=8, help="of each class (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = models.save_open_clip(Path(scratch) / "model")
        encoder = vlcls.load_encoder(f"open_clip:local-dir:{folder}", "cpu", "fp32")
        encoder.encode_texts(["warm up"])
        found, nothing = material(options.images, options.classes, options.descriptors, encoder)
        bench = Workbench(found, Path(scratch) / "session", cache=False)
        listening = bound("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(build_app(bench), log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            whole, scored = edits(address("127.0.0.1", listening), options.rounds)
        finally:
            server.should_exit = True
            thread.join()
            bench.close()
    count = f"{options.images} images, {options.classes} classes of {options.descriptors} descriptors"
    print(f"{timing.machine()}; {count}, {options.rounds} rounds\n")
    rows = [["from nothing: texts encoded, all scored", f"{1000 * nothing:.0f}", "", "1"]]
    for kind, said in (("add", "a descriptor added, one text encoded"), ("delete", "a descriptor deleted")):
        middle = median(whole[kind])
        spread = f"{middle:.0f} ({min(whole[kind]):.0f} to {max(whole[kind]):.0f})"
        rows.append([said, spread, f"{median(scored[kind]):.0f}", f"{1000 * nothing / middle:.0f}"])
    head = ["", "ms until the page shows it", "of these scoring", "times as fast"]
    print(timing.markdown_table(head, rows))


if __name__ == "__main__":
    main()
