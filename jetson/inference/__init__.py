"""From a frame to a prediction: what a robot's program imports, without web or threads."""
