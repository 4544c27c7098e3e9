"""Measuring how good a classifier is."""
