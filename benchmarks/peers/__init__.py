"""What the delivery engine is compared with."""
