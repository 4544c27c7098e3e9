"""Descriptors from WordNet's glosses: senses, phrases, and names that are not there."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlcls.cli import app
from vlcls.descriptors import check_descriptors, read_descriptors
from vlcls.descriptors.checks import classes_alike
from vlcls.descriptors.glosses import gloss_phrases
from vlcls.descriptors.spelling import as_in_wordnet
from vlcls.descriptors.wordnet import describe_with_wordnet, senses_of
from vlcls.errors import DescriptorError, OutputError, VlclsWarning
from vlcls.files.writing import locked
from vlcls.labels import Labels, as_labels
from vlcls.prompts import prompts_from_descriptors


@pytest.mark.parametrize(
    ("gloss", "phrases"),
    [
        (
            "large feline of forests in most of Asia having a tawny coat with black stripes; endangered",
            ["a kind of large feline", "a tawny coat with black stripes"],
        ),
        ("a hand tool with a heavy rigid head and a handle; used to deliver an impulsive force by striking",
         ["a kind of hand tool", "a heavy rigid head and a handle"]),
        ("tallest living quadruped; having a spotted coat and small horns; of savannahs of tropical Africa",
         ["a kind of tallest living quadruped", "a spotted coat and small horns"]),
        ("any of various tailless amphibians (order Anura) with long hind limbs",
         ["a kind of tailless amphibians", "long hind limbs"]),
        ("equipment used in boxing", ["a kind of equipment used in boxing"]),
        ("the genus", []),
        ("nontechnical name for any of numerous edible marine and freshwater spiny-finned fishes",
         ["a kind of edible marine and freshwater spiny-finned fishes"]),
        ("an informal term for a youth or man", ["a kind of youth or man"]),
        ("a device that displays words for people to read",
         ["a kind of device that displays words for people to read"]),
        ("a general term for beer made with bottom fermenting yeast (usually by decoction mashing)",
         ["a kind of beer made with bottom fermenting yeast"]),
        ("high quality grape brandy distilled in the Cognac district of France",
         ["a kind of high quality grape brandy"]),
        ("widely cultivated in tropical and subtropical regions for its flowers; introduced in Jamaica", []),
        ("perennial grass of marshy meadows and ditches having broad leaves; Europe and North America",
         ["a kind of perennial grass of marshy meadows and ditches", "broad leaves"]),
        ("an arch with a gap at the apex; the gap is usually filled with some decoration",
         ["a kind of arch", "a gap at the apex", "the gap is usually filled with some decoration"]),
        ("small finch originally of the western United States and Mexico", ["a kind of small finch"]),
        ("a breed of terrier having a long heavy coat raised in Tibet as watchdogs",
         ["a kind of breed of terrier", "a long heavy coat"]),
        ("any of several large African antelopes having curved ridged horns and frequenting e.g. swamps",
         ["a kind of large African antelopes", "curved ridged horns and frequenting"]),
        ("leaping insect; male makes chirping noises by rubbing the forewings together",
         ["a kind of leaping insect"]),
        ("similar to but smaller than porcupinefish", []),
        ("any of various nonvenomous rodent-eating snakes of North America and Asia",
         ["a kind of nonvenomous rodent-eating snakes"]),
    ],
)  # fmt: skip
def test_phrases_of_a_gloss(gloss: str, phrases: list[str]):
    assert gloss_phrases(gloss) == phrases


def test_a_name_with_several_senses_warns_and_can_be_told_apart():
    assert set(senses_of("Crane")) == {"n02012849", "n03126707"}
    with pytest.warns(VlclsWarning, match="'crane' has 2 senses.*n03126707"):
        bird = describe_with_wordnet(as_labels(["crane"])).descriptors
    assert "bird" in bird.texts(0)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = describe_with_wordnet(as_labels(["crane"]), senses={"crane": "n03126707"}).descriptors
        by_id = describe_with_wordnet(Labels(("crane",), ("n03126707",))).descriptors
    assert machine.descriptors == by_id.descriptors != bird.descriptors
    assert machine.sources["wordnet"]["from"] == "WordNet glosses"
    assert {each.source for each in machine.descriptors[0]} == {"wordnet"}


def test_the_phrase_of_the_kind_reads_as_one():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = describe_with_wordnet(as_labels(["school bus", "kimono"])).descriptors
    assert prompts_from_descriptors(found).texts == [
        "school bus, which is a kind of bus used to transport children to or from school",
        "kimono, which is a kind of loose robe",
    ]
    assert not [p for p in check_descriptors(found) if p.severity == "error"]


@pytest.mark.parametrize(
    ("names", "senses", "message"),
    [
        (["crane"], {"crane": "n99999999"}, "no synset 'n99999999'"),
        (["crane"], {"heron": "n02012849"}, "'heron', which is no class"),
    ],
)
def test_names_and_senses_that_are_not_there(names: list[str], senses: dict[str, str], message: str):
    with pytest.raises(DescriptorError, match=message):
        describe_with_wordnet(as_labels(names), senses=senses)


def test_names_that_are_not_there_fail_alone():
    failures = describe_with_wordnet(as_labels(["elefant", "cat", "zzqk"])).failures
    assert list(failures) == ["elefant", "zzqk"] and "not among WordNet" in failures["zzqk"]
    assert failures["elefant"].endswith("; did you mean 'elephant'?")


def test_nearly_every_synset_gives_whole_phrases():
    from vlcls.wordnet import glosses

    found = [gloss_phrases(gloss) for gloss in glosses().values()]
    assert len(found) > 20_000 and sum(not phrases for phrases in found) < 0.03 * len(found)
    cut = re.compile(r"\b(?:of|and|or|the|a|an|which|that|made|found|native|usually|distilled)$")
    whole = [phrase for phrases in found for phrase in phrases]
    assert all(whole) and sum(bool(cut.search(phrase)) for phrase in whole) < 0.001 * len(whole)
    assert not [phrase for phrase in whole if "name for" in phrase or "term for" in phrase]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("tiger", "tiger"),
        ("TIGER", "tiger"),
        ("tigers", "tiger"),
        ("geese", "goose"),
        ("wolves", "wolf"),
        ("guinea pigs", "guinea pig"),
        ("trousers", "trouser"),
        ("sunglass", "sunglass"),
        ("school-bus", "school bus"),
        ("schoolbus", "school bus"),
        ("Caf\u00e9", "cafe"),
        ("ladys slipper", "lady's slipper"),
        ("the tiger", "tiger"),
        ("crane (bird)", "crane"),
        ("tshirt", "t-shirt"),
        ("pyjamas", "pyjama"),
        ("colour tubes", "colour tube"),
        ("motor-bikes", "motorbike"),
        ("zzqk", None),
        ("elefant", None),
        ("", None),
        ("1", None),
        ("\u8001\u864e", None),
    ],
)
def test_a_name_in_another_number_or_spelling(name: str, written: str | None):
    assert as_in_wordnet(name) == written


def test_all_that_is_unknown_is_named_and_the_rest_is_described(tmp_path: Path):
    output = tmp_path / "out.json"
    names = "tigers,zzqk,zebra,schoolbus,qwxk,car,automobile"
    with pytest.warns(VlclsWarning) as warned:
        result = CliRunner().invoke(app, ["describe", names, "--source", "wordnet", "-o", str(output)])
    assert result.exit_code == 3, result.output
    said = "\n".join(str(each.message) for each in warned)
    assert "taken from WordNet: 'tiger' for 'tigers', 'school bus' for 'schoolbus'" in said
    assert "not described: zzqk: " in result.stderr and "not described: qwxk: " in result.stderr
    assert "2 of 7 classes have no descriptors" in result.stderr
    found = read_descriptors(output)
    assert [bool(own) for own in found.descriptors] == [True, False, True, True, False, True, True]


def test_classes_that_share_all_their_descriptors_are_named(tmp_path: Path):
    with pytest.warns(VlclsWarning, match=r"jeep, landrover have the same descriptors") as warned:
        CliRunner().invoke(
            app, ["describe", "jeep,landrover,tiger", "--source", "wordnet", "-o", str(tmp_path / "out.json")]
        )
    assert not [each for each in warned if "tiger" in str(each.message)]
    apart = as_labels({"a": "crane", "b": "crane"})
    with pytest.warns(VlclsWarning, match="senses"):
        assert not classes_alike(
            describe_with_wordnet(apart).descriptors
        )  # of one name: told apart by no words


def test_wordnet_waits_for_nobody_who_writes_the_same_file(tmp_path: Path):
    output = tmp_path / "out.json"
    with locked(output, "x"):
        result = CliRunner().invoke(app, ["describe", "tiger", "--source", "wordnet", "-o", str(output)])
    assert isinstance(result.exception, OutputError) and not output.exists()


@pytest.mark.parametrize("count", [30, 100, 300])
def test_unknown_names_are_all_named_however_many(count: int, tmp_path: Path):
    names = [f"zzq{number}" for number in range(count)]
    command = [
        "describe",
        ",".join(["tiger", *names]),
        "--source",
        "wordnet",
        "-o",
        str(tmp_path / "out.json"),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 3 and all(re.search(rf"\b{name}\b", result.stderr) for name in names)
