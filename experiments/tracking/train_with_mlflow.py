"""`keras_mscam-train` with its options; losses, configuration, report go to MLflow."""

import dataclasses
import os
import sys

from keras_mscam.cli.train import parse_options
from keras_mscam.errors import command
from keras_mscam.training.train_run import train

import keras
import mlflow


@command
def main() -> None:
    """Train as told on the command line."""
    options = parse_options(sys.argv[1:])
    place = options.output / "mlflow.txt"
    known = place.read_text() if options.resume and place.exists() else None
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri("sqlite:///mlruns.db")
    mlflow.set_experiment("keras_mscam")
    with mlflow.start_run(run_id=known, run_name=str(options.output)) as tracked:
        if known is None:
            for part, values in dataclasses.asdict(options.config).items():
                mlflow.log_params({f"{part}.{k}": v for k, v in values.items()})
        tracker = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: place.write_text(tracked.info.run_id),
            on_epoch_end=lambda epoch, logs: mlflow.log_metrics(logs, step=epoch + 1),
        )
        run = train(options.config, options.output, options.resume, [tracker])
        mlflow.log_artifact(run.metrics_path)
        mlflow.log_artifact(run.report_path)
    print(f"Report: {run.report_path}")


if __name__ == "__main__":
    main()
