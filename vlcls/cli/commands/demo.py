"""`vlcls demo`."""

from __future__ import annotations

from vlcls.cli.command import command
from vlcls.cli.commands.classify import write
from vlcls.cli.options import ClassOptions, ModelOptions, built
from vlcls.cli.progress import bar
from vlcls.cli.terminal import say


@command()
def demo() -> None:
    """Classify some real photographs that come with scikit-image, offline."""
    from vlcls.demo import DEMO_LABELS, demo_photos

    photos = demo_photos()
    say(f"Labels, as you could type them: {', '.join(DEMO_LABELS)}\n")
    ready = built(ClassOptions(labels=",".join(DEMO_LABELS)), ModelOptions(encoder="conse"))
    with bar("classifying", len(photos)) as progress:
        write(ready.iter_predict(photos, 2, progress=progress), "table", None, 2)
    say(
        "\nNobody trained a classifier on these labels: it was made from the names alone.\n\nNext, try:\n"
        '  vlcls classify YOUR_PHOTOS/ --labels "cat,dog,something else" --encoder conse\n'
        '  vlcls classify YOUR_PHOTOS/ --labels "cat,dog,something else"    # a real CLIP, downloaded once\n'
        "  vlcls encoders                                                   # what else there is"
    )
