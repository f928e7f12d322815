"""Training configurations that differ in a few options."""

from mmpnet.train.artifacts.config import TrainConfig, config_of


def changed(config: TrainConfig, **options: object) -> TrainConfig:
    """The configuration with these fields changed."""
    return config_of({**config.options(), **options})
