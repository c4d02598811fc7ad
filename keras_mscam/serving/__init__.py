"""A SavedModel repository behind TensorFlow Serving's protocols, and a client of it."""

__all__ = ["Client", "ServiceError"]


def __getattr__(name: str):
    # Imported when asked for: the server's command must start without TensorFlow.
    if name in __all__:
        from keras_mscam.serving import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
