"""Methods over data sets and encoders: planned, computed cell by cell, and kept for later runs."""
