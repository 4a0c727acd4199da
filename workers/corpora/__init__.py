"""From documents to questions and answers.

After CourseGPT-zh (Qu et al. 2024, arXiv 2405.04781).
"""
