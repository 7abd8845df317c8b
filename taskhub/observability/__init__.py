"""What the processes of the hub say of themselves: lines with what they belong to, and without secrets."""
