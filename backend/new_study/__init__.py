"""New studies, from fields that people fill or from a trainer's output folder."""
