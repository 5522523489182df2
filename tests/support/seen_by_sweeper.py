"""A Hydra callback that writes down what each job returns, as a sweeper sees it."""

from pathlib import Path

from hydra.experimental.callback import Callback


class Seen(Callback):
    def __init__(self, path):
        self.path = Path(path)

    def on_job_end(self, config, job_return, **_):
        with self.path.open("a") as file:
            file.write(f"{job_return.return_value}\n")
