"""What a run has written, read back: pages, figures, tables for other programs, comparisons of two runs."""
