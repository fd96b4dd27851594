"""Words to one job call; the only place that parses flags and prints."""
