"""What proposes architectures: policy gradients, random search, evolution, a predictor."""
