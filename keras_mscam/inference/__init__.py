"""A trained model, and what it says of an X-ray."""
