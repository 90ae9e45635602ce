"""What became of each delivery: the log, its sensors' standing, running deliveries again, dead letters."""
