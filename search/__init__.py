"""The search: controller, staged evaluation, history and report."""
