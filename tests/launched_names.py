"""What test_names_processes.py starts: learns names of made-up images, alone or under `accelerate launch`.

The one argument is a JSON file: spec, labels, templates, tokens_at_once, epochs, output (a folder), pause
(seconds after each epoch).
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import vlcls
from vlcls.labelled import LabelledEmbeddings
from vlcls.learning import Training, learn_from_embeddings


def made_up(classes: int, width: int, count: int = 30) -> LabelledEmbeddings:
    """Images around one direction a class."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(classes, width, generator=generator)
    indices = torch.arange(count) % classes
    rows = F.normalize(centres[indices] + 0.5 * torch.randn(count, width, generator=generator), dim=1)
    return LabelledEmbeddings(rows, indices, {}, tuple(f"image {row}" for row in range(count)))


def learn(job: dict, encoder: vlcls.Encoder | None = None, folder: Path | None = None, pause: float = 0.0):
    """The job's vectors, and its result."""
    plain = vlcls.build_classifier(
        job["labels"], encoder or job["spec"], job["templates"], precision="fp32", cache=False
    )
    images = made_up(len(plain.labels), plain.encoder.embedding_dim)
    settings = Training(epochs=job["epochs"], batch_size=8, tokens_at_once=job["tokens_at_once"])

    def tell(epoch) -> None:
        print(epoch.number, flush=True)
        time.sleep(pause)

    result = learn_from_embeddings(
        plain, images, settings=settings, folder=folder, cache=False, progress=tell
    )
    return torch.cat([name.vectors for name in result.classifier.prompts.learned.values()]), result


def main(job: dict) -> None:
    from vlcls.encoders.placement import process_state

    folder = Path(job["output"])
    vectors, result = learn(job, folder=folder / "run", pause=job["pause"])
    found = {
        "world": process_state().num_processes,
        "vectors": vectors.tolist(),
        "history": [vars(epoch) for epoch in result.history],
    }
    (folder / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
