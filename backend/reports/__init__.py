"""What combines analyses: export and, later, findings, audit and the report."""
