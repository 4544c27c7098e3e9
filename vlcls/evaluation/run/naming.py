"""Methods that get no class names: how well the names they find fit the true ones (CaSED's metrics)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlcls import __version__
from vlcls.errors import EvaluationError, VlclsError
from vlcls.evaluation.metrics.entries import metrics_of
from vlcls.evaluation.metrics.vocabulary_free import FoundNames
from vlcls.evaluation.run.cell_files import stored_schema, write_cell, write_predictions
from vlcls.evaluation.run.cells import file_name
from vlcls.evaluation.run.embedded import EmbeddedSet
from vlcls.evaluation.run.kinds import NameFinder
from vlcls.evaluation.run.methods import Method
from vlcls.retrieval.database import CONFIG

if TYPE_CHECKING:
    from vlcls.classifiers.vocabulary_free import Naming, NamingMethod
    from vlcls.encoders import Encoder

#: Names to report, the most frequent ones.
_NAMES = 10
#: Images that are named at once.
_AT_ONCE = 256


def naming_key(data: EmbeddedSet, encoder: Encoder, method: Method) -> str:
    """A hash of all that the figures depend on."""
    config = Path(method.options.get("captions", "")).expanduser() / CONFIG
    captions = hashlib.sha256(config.read_bytes()).hexdigest() if config.is_file() else ""
    known = [
        __version__, data.name, data.content, encoder.fingerprint, encoder.precision, method.spec, captions,
        stored_schema(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def found_names(
    data: EmbeddedSet, encoder: Encoder, method: Method, cache: bool | str | Path = True
) -> list[Naming]:
    """Name every image. Under `accelerate launch` every process has to call this.

    Raises:
        CaptionError, EncoderMismatchError: The captions cannot be used.
    """
    naming = _naming(method, encoder, cache)
    rows = data.embeddings.to(encoder.device)
    found = [one for part in rows.split(_AT_ONCE) for one in naming(part)]
    if hasattr(naming, "close"):
        naming.close()
    return found


def judged_names(
    data: EmbeddedSet, encoder: Encoder, method: Method, found: list[Naming], folder: Path
) -> dict[str, Any]:
    """Measure and write. What `results.json` says of it."""
    truth = [data.labels.names[own[0]] for own in data.truth]
    names = [each.label or "" for each in found]
    name = file_name(data, encoder, method)
    scores = [each.score or 0.0 for each in found]
    columns = {"image": list(data.names), "true": truth, "predicted": names, "confidence": scores}
    written = write_predictions(folder, name, columns)
    result = {
        "set": data.name,
        "encoder": encoder.spec,
        "method": method.spec,
        "images": len(data),
        **{metric.name: metric.figure(FoundNames(names, truth)) for metric in metrics_of(FoundNames)},
        "fallbacks": sum(each.fallback for each in found),
        "names": [list(pair) for pair in Counter(names).most_common(_NAMES)],
        **written,
    }
    write_cell(folder, name, naming_key(data, encoder, method), result)
    return result


def _naming(method: Method, encoder: Encoder, cache: bool | str | Path) -> NamingMethod:
    source = method.kind.source
    assert isinstance(source, NameFinder), method
    try:
        return source.find(method.options, encoder, cache)
    except VlclsError:
        raise
    except ValueError as error:
        raise EvaluationError(f"method {method.spec!r}: {error}") from error
