"""What becomes of a delivery: acknowledged, copied, or given back."""
