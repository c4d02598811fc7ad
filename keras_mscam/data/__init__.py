"""From image and label files to batches: readers, splits, records, pipeline."""
