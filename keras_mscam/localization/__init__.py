"""From maps to boxes, and how well they fit: NumPy and OpenCV, no framework."""
