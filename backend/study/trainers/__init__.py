"""Output folders of trainers: checkpoints, their order, their base."""
