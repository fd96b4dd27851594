"""Images in: sources, splits, the uint8 cache, batches, the data card."""
