"""Training configurations that differ in a few options."""

from mmpnet.train.artifacts.config import TrainConfig, config_of


def changed(config: TrainConfig, **options: object) -> TrainConfig:
    """The configuration with these options, by their fields' names, instead of its own."""
    return config_of({**config.options(), **options})
