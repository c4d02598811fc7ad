"""A trained model for other programs: its network, its boxes, and what it promises."""
