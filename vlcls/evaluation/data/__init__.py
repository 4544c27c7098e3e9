"""Images of known classes: folders, tables, shards, data sets of the Hub, suites of them, corrupted ones."""
