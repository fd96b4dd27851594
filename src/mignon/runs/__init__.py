"""Run folders: settings, ledger, checkpoints, the file; found again by key."""

from mignon.runs.folder import Run, find_run, list_runs, runs_root

__all__ = ["Run", "find_run", "list_runs", "runs_root"]
