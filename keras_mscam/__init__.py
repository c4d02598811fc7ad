"""Multiscale class activation maps of chest pathologies, after Sedai et al. 2018."""

__version__ = "0.1.0"
