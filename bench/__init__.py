"""What busauth costs, next to what a user would pick instead."""
