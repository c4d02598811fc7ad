"""X-rays from PNG, JPEG and DICOM files, and the sizes they are seen in."""
