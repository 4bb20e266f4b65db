"""The benchmark: measurement protocol, report, and measuring over SSH."""
