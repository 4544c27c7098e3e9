"""What was saved with a local model is used on another machine, where the model has another place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from models import save_open_clip
from PIL import Image
from typer.testing import CliRunner

import vlcls
from vlcls.cli import app
from vlcls.errors import EncoderError, EncoderMismatchError, MissingExtraError

KINDS = ("open_clip-clip", "hf-clip", "hf-siglip")


@pytest.fixture(params=KINDS)
def moved(
    request: pytest.FixtureRequest, tmp_path: Path, model_folder: Callable[[str], Path]
) -> tuple[str, str]:
    """A classifier saved with a model that was moved since: the old spec and the new one."""
    prefix = "open_clip:local-dir:" if request.param.startswith("open_clip") else "hf:"
    shutil.copytree(model_folder(request.param), tmp_path / "old" / "my clip")
    old = f"{prefix}{tmp_path}/old/my clip"
    vlcls.build_classifier(["cat", "dog"], old, cache=False).save_pretrained(tmp_path / "saved")
    (tmp_path / "new").mkdir()
    (tmp_path / "old").rename(tmp_path / "new" / "place")
    Image.new("RGB", (40, 30), (90, 140, 60)).save(tmp_path / "a.png")
    return old, f"{prefix}{tmp_path}/new/place/my clip"


def test_the_error_says_how_to_give_the_place_and_it_works(moved: tuple[str, str], tmp_path: Path) -> None:
    old, new = moved
    for use in (
        lambda: vlcls.load(tmp_path / "saved").encoder,
        lambda: vlcls.load(tmp_path / "saved", device="cpu"),
    ):
        with pytest.raises(EncoderError) as caught:
            use()
        said = str(caught.value)
        assert old in said and "no folder" in said and "--encoder" in said and "encoder=SPEC" in said
    for arguments in (
        ["classify", "a.png", "--classifier", "saved"],
        ["explain", "a.png", "--classifier", "saved"],
    ):
        arguments = [str(tmp_path / word) if word in ("a.png", "saved") else word for word in arguments]
        failed = CliRunner().invoke(app, arguments)
        assert isinstance(failed.exception, EncoderError) and "--encoder" in str(failed.exception)
        done = CliRunner().invoke(app, [*arguments, "--encoder", new, "-f", "jsonl"])
        assert done.exit_code == 0
        assert json.loads(done.stdout)["label"] in ("cat", "dog")
    assert vlcls.load(tmp_path / "saved", new).predict(tmp_path / "a.png", cache=False)[0].error is None


def test_another_model_is_no_moved_one(moved: tuple[str, str], tmp_path: Path) -> None:
    other = save_open_clip(tmp_path / "other", seed=5)
    with pytest.raises(EncoderMismatchError):
        vlcls.load(tmp_path / "saved", f"open_clip:local-dir:{other}")


@pytest.mark.parametrize(
    "spec",
    ["hf:/data/models/my clip", "hf:./clip", "hf:~/clip", r"hf:C:\models\clip", "hf:models/my/clip",
     "hf:org/gone", "open_clip:local-dir:/data/clip", "open_clip:NO-SUCH/tag", "open_clip:hf-hub:org/gone",
     "gone:x"],
)  # fmt: skip
def test_every_kind_of_spec_that_is_not_here_says_it(spec: str, tmp_path: Path) -> None:
    from vlcls.encoders import load_named_encoder

    with pytest.raises(EncoderError, match="--encoder") as caught:
        load_named_encoder(spec, "this classifier")
    assert str(caught.value).startswith(f"this classifier was built with {spec}")


def test_a_missing_extra_is_still_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlcls import encoders

    monkeypatch.setattr(encoders.Family, "installed", False)
    with pytest.raises(MissingExtraError):
        encoders.load_named_encoder("conse", "this classifier")
