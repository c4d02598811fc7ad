"""Decoding, maps, boxes and pictures in TensorFlow's own operations."""
