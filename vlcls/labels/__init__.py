"""Class names: what a user types or has in a file, cleaned up, and told apart by ids rather than by name."""

from vlcls.labels.files import read_labels
from vlcls.labels.names import Known, Labels, as_labels, clean_name, parse_labels

__all__ = ["Known", "Labels", "as_labels", "clean_name", "parse_labels", "read_labels"]
