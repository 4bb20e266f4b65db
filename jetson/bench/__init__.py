"""The benchmark: measurement, report, and measuring over SSH."""
