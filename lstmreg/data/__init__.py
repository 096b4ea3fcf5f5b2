"""From a table to batches: reading, splitting, windowing, scaling, and the LightningDataModule."""
