"""Look at, check, convert and edit descriptor sets."""

ORDER = ("list", "validate", "show", "convert", "diff", "add", "remove", "replace", "reweight", "rename")
