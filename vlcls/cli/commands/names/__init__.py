"""Read learned names, add classes, test them."""

ORDER = ("inspect", "add", "base-to-novel")
