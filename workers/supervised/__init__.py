"""Supervised fine-tuning: questions with answers become a base model for rounds."""
