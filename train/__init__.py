"""Full training and evaluation."""
