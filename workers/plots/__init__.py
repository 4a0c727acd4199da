"""Figures as SVG: what a lie would have brought, and how far a training drifted for its reward."""

from workers.plots.incentives import audit_figure, incentive_figure
from workers.plots.reward_drift import Curve, pareto_front, reward_drift_figure

__all__ = ["Curve", "audit_figure", "incentive_figure", "pareto_front", "reward_drift_figure"]
