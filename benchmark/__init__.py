"""How fast the engine is, beside plain loops and the hardware's floor."""
