"""The commands: a file each, found by themselves; `vlcls.cli.command` says how to add one."""

#: As `vlcls --help` lists them; others follow by name.
ORDER = (
    *("classify", "unsort", "build", "demo", "encoders", "doctor", "templates", "describe", "explain"),
    *("edit", "evaluate", "compare", "discover", "bias", "learn-names", "descriptors", "captions", "names"),
    "cache",
)
