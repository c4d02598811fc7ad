"""Metadata and dependencies stand in `setup.cfg`."""

from setuptools import setup

setup()
