"""Other formats than the SavedModel."""
