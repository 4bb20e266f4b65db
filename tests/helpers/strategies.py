"""Hypothesis strategies that several test files draw from."""

from __future__ import annotations

from hypothesis import strategies as st

from fastnas.models.genotype import Genotype, decision_choices

genotypes = st.tuples(*(st.integers(0, choices - 1) for choices in decision_choices())).map(Genotype.from_decisions)
