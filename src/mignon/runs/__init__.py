"""Run folders: record, ledger, checkpoints, the file; found again by key."""

from mignon.runs.folder import Asked, Run, find_run, list_runs, runs_root
from mignon.runs.record import Record

__all__ = ["Asked", "Record", "Run", "find_run", "list_runs", "runs_root"]
