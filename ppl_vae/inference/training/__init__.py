"""The parts of ``fit``: the data it steps over, the steps, the state it keeps, the folder it writes."""
