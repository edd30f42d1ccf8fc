"""What would become of letters if they were sent again now."""
