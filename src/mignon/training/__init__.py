"""The loop, the schedule, checkpoints, the choice of precision."""
