"""How much may wait at a time."""

import grpc

from keras_mscam.serving.errors import ServingError, refuse


class WaitingRoom:
    """Counts images that wait to be run, over all models.

    Args:
        most: images that may wait.
        most_bytes: memory that they may take. A single request may take more.
    """

    def __init__(self, most: int, most_bytes: int):
        self.most = most
        self.most_bytes = most_bytes
        self.waiting = 0
        self.bytes = 0

    def enter(self, images: int, size: int) -> None:
        """Let a request in.

        Args:
            images: that it holds.
            size: bytes that they take.

        Raises:
            ServingError: RESOURCE_EXHAUSTED: too much waits already.
                INVALID_ARGUMENT: the request alone is too large, and always will be.
        """
        if images > self.most:
            raise refuse(
                f"The request holds {images} images, and {self.most} may wait at most; "
                "send fewer at a time."
            )
        is_full = self.waiting + images > self.most
        if is_full or (self.waiting and self.bytes + size > self.most_bytes):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self.waiting} images with {self.bytes} bytes wait already, and no "
                f"more than {self.most} with {self.most_bytes} may; try again later.",
            )
        self.waiting += images
        self.bytes += size

    def leave(self, images: int, size: int) -> None:
        """Make room again."""
        self.waiting -= images
        self.bytes -= size
