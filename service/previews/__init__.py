"""Previews of reports: what a report would say of sample responses, its group's alone to see.

What was asked and what came of it are as secret as the report: both are stored encrypted, and
nobody else, the operator included, is told that there is a preview.
"""
