"""`keras_mscam-train` and its options, with losses and configuration in W&B."""

import dataclasses
import sys

from keras_mscam.cli.train import parse_options
from keras_mscam.errors import command
from keras_mscam.training.train_run import train

import keras
import wandb
from wandb.integration.keras import WandbMetricsLogger


@command
def main() -> None:
    """Train as told on the command line."""
    options = parse_options(sys.argv[1:])
    place = options.output / "wandb.txt"
    known = place.read_text() if options.resume and place.exists() else None
    with wandb.init(
        project="keras_mscam",
        name=str(options.output),
        config=dataclasses.asdict(options.config),
        id=known,
        resume="allow",
    ) as tracked:
        remember = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: place.write_text(tracked.id)
        )
        trackers = [remember, WandbMetricsLogger()]
        run = train(options.config, options.output, options.resume, trackers)
    print(f"Report: {run.report_path}")


if __name__ == "__main__":
    main()
