"""Damage to a file's bytes, decided by a seed."""

import os
import random

RUNS = int(os.environ.get("MMPNET_FUZZ", "60"))
"""Mutated files for each kind of file; `make fuzz` tries many more."""
_FIRST = int(os.environ.get("MMPNET_FUZZ_SEED", "0"))
SEEDS = range(_FIRST, _FIRST + RUNS)
"""One per mutated file; another first seed gives other files."""


def mutated(content: bytes, seed: int) -> bytes:
    """The content with one to four faults: flipped bits, other bytes, a part that is missing, repeated or cut off."""
    draw, changed = random.Random(seed), bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not changed:
            break
        at = draw.randrange(len(changed))
        length = min(draw.choice((1, 2, 4, 16, 256)), len(changed) - at)
        fault = draw.choice(("flip", "flip", "bytes", "drop", "repeat", "cut", "swap"))
        if fault == "flip":
            changed[at] ^= 1 << draw.randrange(8)
        elif fault == "bytes":
            changed[at : at + length] = draw.randbytes(length)
        elif fault == "drop":
            del changed[at : at + length]
        elif fault == "repeat":
            changed[at:at] = changed[at : at + length] * draw.choice((1, 2, 50))
        elif fault == "cut":
            del changed[at:]
        else:
            other = draw.randrange(len(changed))
            changed[at], changed[other] = changed[other], changed[at]
    return bytes(changed)
