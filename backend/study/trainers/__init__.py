"""Read the output folders of trainers: checkpoints, their order, and their base model."""
