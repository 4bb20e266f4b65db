"""Hypothesis strategies that several test files draw from."""

from __future__ import annotations

from hypothesis import strategies as st

from fastnas.genotype import DECISION_CHOICES, Genotype

genotypes = st.tuples(*(st.integers(0, choices - 1) for choices in DECISION_CHOICES)).map(Genotype.from_decisions)
