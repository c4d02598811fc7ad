"""Predict many files: find, read, predict, draw, store and go on."""
