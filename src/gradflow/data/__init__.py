"""The data sets: reading, checking, storing."""
