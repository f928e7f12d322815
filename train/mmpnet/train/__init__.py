"""Training and measuring, as functions:

    from mmpnet.train import train, validate

They are imported at first use: naming the package loads no torch, and `validate` needs it for checkpoints only.
"""

from typing import TYPE_CHECKING

from mmpnet.contract.lazy_names import lazy_names

if TYPE_CHECKING:
    from mmpnet.train.api import train as train
    from mmpnet.train.measure import validate as validate

__all__ = ["train", "validate"]
__getattr__, __dir__ = lazy_names(__name__, {"train": "mmpnet.train.api", "validate": "mmpnet.train.measure"})
