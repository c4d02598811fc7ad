"""A SavedModel repository behind TF Serving's protocols, and a client of either."""

from keras_mscam.serving.client import Client
from keras_mscam.serving.client_errors import ServiceError

__all__ = ["Client", "ServiceError"]
