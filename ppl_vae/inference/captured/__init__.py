"""What ``capture`` stands on: the graph of a step, its compilers, its optimiser, and when which one pays."""
