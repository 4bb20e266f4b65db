"""Evaluating one candidate: data, encoder outputs, two stages of training, reward."""
