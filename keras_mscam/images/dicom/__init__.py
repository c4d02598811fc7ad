"""DICOM radiographs: their grey pixels, and what their headers say of them."""
