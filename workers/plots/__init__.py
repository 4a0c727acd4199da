"""Figures as SVG: what a lie would have brought, how far a training drifted for its reward, how
good a reward model is, what a fine-tuning learned, and how an answering prompt became better."""

from workers.plots.incentives import audit_figure, incentive_figure
from workers.plots.loss_curve import loss_curve_figure
from workers.plots.prompt_history import prompt_history_figure
from workers.plots.report_card import report_card_figure
from workers.plots.reward_drift import Curve, pareto_front, reward_drift_figure

__all__ = [
    "Curve",
    "audit_figure",
    "incentive_figure",
    "loss_curve_figure",
    "pareto_front",
    "prompt_history_figure",
    "report_card_figure",
    "reward_drift_figure",
]
