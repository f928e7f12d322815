"""Texts of strangers, made safe for those who read them: encoders, OpenCV, terminals."""


def well_formed(text: str) -> str:
    """The text with `?` for each lone surrogate, which stands in the names of files that are not UTF-8."""
    return text.encode(errors="replace").decode()


def is_well_formed(text: str) -> bool:
    """Whether the text can be encoded as UTF-8. OpenCV ends Python with a segmentation fault on one that cannot."""
    return well_formed(text) == text
