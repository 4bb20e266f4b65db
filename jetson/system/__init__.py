"""What machine this is: its facts, its sensors, and what it lacks."""
