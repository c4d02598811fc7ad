"""Which batches of a training run this process is to give, and its part of them."""

from dataclasses import dataclass

import tensorflow as tf

from keras_mscam.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The batches of a run from some step on, and one host's part of them.

    Args:
        images: of the training split.
        batch_size: images of a batch, those of all hosts together.
        seed: of the order and the augmentation, any integer.
        epochs: where to end: the number of the last epoch, plus 1.
        first_epoch: where to begin, counted from 0.
        first_step: batches of that epoch to leave out; any number.
        host: (index, count) of this host.

    Raises:
        UserError: there are fewer images than one batch holds, or the hosts can't
            share a batch equally.
    """

    images: int
    batch_size: int
    seed: int
    epochs: int
    first_epoch: int = 0
    first_step: int = 0
    host: tuple[int, int] = (0, 1)

    def __post_init__(self):
        index, hosts = self.host
        if self.images < self.batch_size:
            raise UserError(
                f"The training split has {self.images} images, fewer than a batch of "
                f"{self.batch_size}; choose a smaller batch."
            )
        if not 0 <= index < hosts:
            raise UserError(f"There is no host {index} among {hosts}, counted from 0.")
        if self.batch_size % hosts:
            raise UserError(
                f"{hosts} hosts can't share a batch of {self.batch_size} equally; "
                "choose a multiple of their number."
            )

    @property
    def steps(self) -> int:
        """Whole batches an epoch."""
        return self.images // self.batch_size

    @property
    def first(self) -> int:
        """Number of the first batch, counted from the beginning of epoch 0."""
        return self.first_epoch * self.steps + self.first_step

    @property
    def end(self) -> int:
        """Number of the last batch, plus 1."""
        return max(self.epochs * self.steps, self.first)

    @property
    def own(self) -> slice:
        """The part of every batch that is this host's."""
        index, hosts = self.host
        part = self.batch_size // hosts
        return slice(index * part, (index + 1) * part)

    def epoch_range(self) -> tf.data.Dataset:
        """Return the numbers of the epochs, int64, and of the first step of each."""
        epoch, step = divmod(self.first, self.steps)
        steps = tf.constant([0, step], tf.int64)
        epochs = tf.data.Dataset.range(epoch, self.epochs)
        return epochs.map(lambda e: (e, steps[tf.cast(e == epoch, tf.int32)]))
