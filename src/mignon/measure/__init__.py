"""Accuracy, the statistics of a change, cost."""
