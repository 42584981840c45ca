"""The orders in which a gallery shows clusters."""

from typing import NamedTuple


class Order(NamedTuple):
    """The attribute of Members to sort by, whether the largest comes first, and the order's name on the page."""

    by: str
    from_large: bool
    title: str


ORDERS = {
    "largest": Order("size", True, "largest"),
    "smallest": Order("size", False, "smallest"),
    "compact": Order("mean_distance", False, "most compact"),
    "loose": Order("mean_distance", True, "least compact"),
    "pure": Order("purity", True, "purest"),
    "mixed": Order("purity", False, "most mixed"),
    "number": Order("number", False, "number"),  # as the run counts clusters
}
