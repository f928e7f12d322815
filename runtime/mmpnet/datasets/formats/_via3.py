"""Projects of VGG Image Annotator 3, in the form of those of version 2."""

from typing import Any

_SHAPES = {2: "rect", 3: "circle", 4: "ellipse", 6: "polyline", 7: "polygon", 8: "polygon"}
"""Shapes by their number at the start of `xy`; 8 is a rectangle by its extreme points."""
_FIELDS = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}


def is_version_3(content: Any) -> bool:
    """Whether a parsed JSON file is a project of version 3."""
    return isinstance(content, dict) and isinstance(content.get("file"), dict) and "metadata" in content


def as_version_2(content: dict[str, Any]) -> dict[str, Any]:
    """The images of a project with their regions, as version 2 has them.

    What is malformed stays as it is, so that the reader of version 2 names it.
    """
    views = _dicts(content.get("view"))
    attributes = _dicts(content.get("attribute"))
    files: dict[str, Any] = {
        key: {"filename": file.get("fname"), "regions": []} for key, file in _dicts(content["file"]).items()
    }
    for key, entry in _dicts(content["metadata"]).items():
        xy = entry.get("xy")
        if not xy:
            continue  # describes the whole image
        shown = views.get(str(entry.get("vid")), {}).get("fid_list") or [entry.get("vid")]
        region = {"shape_attributes": _shape(xy), "region_attributes": _values(entry.get("av"), attributes)}
        file = files.setdefault(str(shown[0]), {"filename": None, "regions": []})
        file["regions"].append(region if isinstance(xy, list) else {key: xy})
    return files


def _dicts(value: Any) -> dict[str, dict[str, Any]]:
    """The entries of an object that are objects themselves."""
    return {key: one for key, one in value.items() if isinstance(one, dict)} if isinstance(value, dict) else {}


def _shape(xy: Any) -> dict[str, Any]:
    name = _SHAPES.get(xy[0], f"shape {xy[0]}") if isinstance(xy, list) and isinstance(xy[0], int) else "shape"
    numbers = xy[1:] if isinstance(xy, list) else []
    if name in _FIELDS:
        return {"name": name, **dict(zip(_FIELDS[name], numbers, strict=False))}
    return {"name": name, "all_points_x": numbers[::2], "all_points_y": numbers[1::2]}


def _values(given: Any, attributes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Attributes by name; a chosen option is stored as its number."""
    values = {}
    for key, value in (given if isinstance(given, dict) else {}).items():
        attribute = attributes.get(key, {})
        options = attribute.get("options")
        named = options.get(str(value), value) if isinstance(options, dict) else value
        values[str(attribute.get("aname", key))] = named
    return values
