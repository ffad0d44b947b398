"""From a name or a folder to batches: sources, splits, augmentation, the order of steps."""
