"""Fitting a classifier: backend-neutral, with callbacks that keep the run usable."""
