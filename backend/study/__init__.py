"""Studies: what is compared, on which texts, behind which prompt. No torch."""
