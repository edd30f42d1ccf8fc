"""What the project runs beside its code."""
