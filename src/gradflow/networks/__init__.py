"""The networks: masks, initial weights, layers."""
