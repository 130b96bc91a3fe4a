"""Draw the picture of the README and of the first page: ``make pictures``.

The same files come out of the same versions of the packages, so that a change of the
picture is a change of the router.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor

from skroute import PointwiseRouter, RankingRouter
from skroute.datasets import load_digits_pool
from skroute.plotting import RoutingCurveDisplay

FOLDER = Path(__file__).parent / "_static"
THEMES = {
    "digits.svg": {},
    "digits-dark.svg": {
        "text.color": "#ced6dd",
        "axes.labelcolor": "#ced6dd",
        "axes.edgecolor": "#9ca4af",
        "xtick.color": "#ced6dd",
        "ytick.color": "#ced6dd",
        "legend.facecolor": "#14181e",
        "legend.edgecolor": "#48566b",
    },
}


def main() -> None:
    """Write the pictures, light and dark."""
    pool = load_digits_pool(as_frame=True)
    X, X_new, y, y_new, costs, costs_new = train_test_split(
        pool.data, pool.quality, pool.costs, test_size=0.4, random_state=0
    )
    router = RankingRouter(random_state=0).fit(X, y, costs=costs)
    peers = {
        "ridge": PointwiseRouter(RidgeCV([0.01, 0.1, 1, 10, 100]), random_state=0),
        "nearest neighbours": PointwiseRouter(KNeighborsRegressor(10), random_state=0),
    }
    for peer in peers.values():
        peer.fit(X, y, costs=costs)
    for name, colours in THEMES.items():
        fixed = {"svg.hashsalt": "skroute", "font.size": 10, **colours}
        with mpl.rc_context(fixed):
            _, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
            display = RoutingCurveDisplay.from_estimator(
                router, X_new, y_new, costs=costs_new, peers=peers, ax=ax
            )
            ax.set(
                xscale="log",
                xlim=(20, 3e5),
                ylim=(0.6, 1.01),
                xlabel="Arithmetic operations per digit, on average",
                ylabel="Digits read right",
            )
            ax.legend(handles=ax.get_legend().legend_handles, loc="lower right")
            display.figure_.savefig(
                FOLDER / name, transparent=True, metadata={"Date": None}
            )


if __name__ == "__main__":
    main()
