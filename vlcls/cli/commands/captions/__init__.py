"""Databases of captions: where `vlcls discover` finds names for images."""

ORDER = ("build", "info", "search")
