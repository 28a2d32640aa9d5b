"""What ``fit`` stands on: the data it steps over, the steps, the state it keeps, the folder it writes."""
