"""The same labeled images for every format."""

import pytest

from support.drawn_images import Drawn


@pytest.fixture(scope="session")
def some_images() -> list[Drawn]:
    """Images with two people, with none, and with one who touches the border."""
    return [
        Drawn("a1", (30, 40), [(4, 5, 14, 17), (20, 0, 40, 30)]),
        Drawn("b2", (20, 20), []),
        Drawn("c3", (33, 47), [(0, 0, 1, 33)]),
    ]
