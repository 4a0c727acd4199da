"""The loss of a fine-tuning by step: on the lines that it trains on, and on those held out."""

import itertools
from collections.abc import Sequence

from api_schemas.fine_tuned_models import LossPoint
from workers.plots.svg import BLACK, BLUE, VERMILLION, new_figure, style, to_svg


def loss_curve_figure(curve: Sequence[LossPoint], best_step: int, title: str) -> bytes:
    """Nats an answer token. A point of the training loss is the mean since the point before, so it
    is drawn half-way between the two; the held-out loss of the model that was kept is marked."""
    holdout = {point.step: point.holdout_loss for point in curve}
    with style():
        figure = new_figure(7.0, 4.0)
        axes = figure.subplots()
        axes.plot(
            list(holdout), list(holdout.values()), "o-", color=BLUE, markersize=4, label="held out"
        )
        pairs = [
            ((before.step + point.step) / 2, point.train_loss)
            for before, point in itertools.pairwise(curve)
        ]
        middles, losses = [middle for middle, _ in pairs], [loss for _, loss in pairs]
        axes.plot(middles, losses, "s--", color=VERMILLION, markersize=4, label="trained on")
        axes.plot(
            [best_step],
            [holdout[best_step]],
            "o",
            color=BLACK,
            markersize=10,
            markerfacecolor="none",
            label=f"kept: step {best_step}, {holdout[best_step]:.3f}",
        )
        axes.set_xlabel("step")
        axes.set_ylabel("mean loss of an answer token (nats)")
        axes.set_title(title)
        axes.legend(fontsize=8, frameon=False)
        return to_svg(figure, title)
