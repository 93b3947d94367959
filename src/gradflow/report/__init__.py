"""What a reader is shown of a whole scale."""
