"""Figures as SVG: what a lie would have brought, how far a training drifted for its reward, and how
good a reward model is."""

from workers.plots.incentives import audit_figure, incentive_figure
from workers.plots.report_card import report_card_figure
from workers.plots.reward_drift import Curve, pareto_front, reward_drift_figure

__all__ = [
    "Curve",
    "audit_figure",
    "incentive_figure",
    "pareto_front",
    "report_card_figure",
    "reward_drift_figure",
]
