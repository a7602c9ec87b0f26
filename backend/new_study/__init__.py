"""New studies, from the fields of a form or from the output folder of a trainer."""
