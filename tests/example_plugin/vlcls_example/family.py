"""A family of encoders. What it loads is in another file, so that `vlcls encoders` need not import it."""

from vlcls.encoders.families import Family, HeatMaps
from vlcls.registry import lazy

COLOURS = Family(
    "colours",
    "red, green and blue: how much of each is in a picture, and in a text",
    ("colours",),
    load=lazy("vlcls_example.encoder:Colours"),
    reference=lazy("vlcls_example.encoder:reference"),
    heat=HeatMaps("colours", own=lazy("vlcls_example.encoder:heat")),
)
